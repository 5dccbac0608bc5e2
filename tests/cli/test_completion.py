"""What a shell offers after TAB, by the scripts that the program gives to the shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from repro.cli.help import PANELS
from repro.experiments import EXPERIMENTS


@pytest.fixture
def path(tmp_path):
    """A PATH on which `repro` is a program that fails if it imports what takes long."""
    program = tmp_path / "bin" / "repro"
    program.parent.mkdir()
    program.write_text(
        textwrap.dedent(f"""\
            #!{sys.executable}
            import sys
            from repro.cli import main
            try:
                main()
            finally:
                found = {{'torch', 'scipy', 'numpy'}} & set(sys.modules)
                if found:
                    print('imported', found)
            """)
    )
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def complete(line: str, path: str) -> list[str]:
    """What bash would insert or offer for the last word of `line`, by the script of --show-completion."""
    script = (
        f'source <(repro --show-completion bash)\nCOMP_WORDS=({line})\n[[ {line!r} == *" " ]] && COMP_WORDS+=("")\n'
        "COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))\n_repro_completion repro\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    environment = {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    process = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return process.stdout.split()


GC = [name for name in EXPERIMENTS if name.startswith("coco-r50-gc-r1")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("repro run coco-r50-gc-r1", GC),
        ("repro submit coco-r50-gc-r1", GC),
        ("repro plan --experiments coco-r50-gc-r1", GC),
        ("repro checkpoints list --experiment coco-r50-gc-r1", GC),
        ("repro run coco-r50-baseline --profile ", ["auto", "full", "mini"]),
        ("repro plan --table ", ["1", "2", "3", "4", "5", "all"]),
        ("repro table ", ["1", "2", "3", "4", "5"]),
        ("repro checkpoints fetch gcnet/r50-syncbn-gc-r16-1", ["gcnet/r50-syncbn-gc-r16-1x"]),
        ("repro run coco-r50-gc-r16 --weights gcnet/r50-syncbn-gc-r16-1", ["gcnet/r50-syncbn-gc-r16-1x"]),
        ("repro tabl", ["table", "tables"]),
        ("repro run mine.p", []),  # bash's own completion of files follows
    ],
)
def test_bash_completes(line, expected, path):
    assert complete(line, path) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell, path):
    environment = {**os.environ, "PATH": path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    process = subprocess.run(
        ["repro", "--show-completion", shell], capture_output=True, text=True, check=True, env=environment
    )
    assert "_REPRO_COMPLETE" in process.stdout
    assert not any(panel in process.stdout for panel in PANELS)
