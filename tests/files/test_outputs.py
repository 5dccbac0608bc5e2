"""What is written goes to where the path leads, and replaces nothing that it should be written into."""

from __future__ import annotations

import ast
import errno
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from repro import paths
from repro.cli import options
from repro.errors import ReproError
from repro.files.outputs import append_output, is_stdout, write_output
from repro.paths import write_atomically

TEXT = "≈ 38.0\n"


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def read_mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_and_its_target_is_written(relative, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "table.md"
    target.write_text("old")
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to("elsewhere/table.md" if relative else target)
    second.symlink_to("link")
    write_output(second, TEXT)
    assert second.is_symlink()
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == TEXT
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["elsewhere", "link", "second", "table.md"]


def test_a_link_to_what_is_not_there_yet_makes_it(tmp_path):
    (tmp_path / "link").symlink_to("made/table.md")
    write_output(tmp_path / "link", TEXT)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "made" / "table.md").read_text(encoding="utf-8") == TEXT


@pytest.mark.parametrize("links", [["loop"], ["b", "a"]])
def test_links_that_lead_back_to_themselves_are_named(links, tmp_path):
    for name, to in zip(sorted(links), links, strict=True):
        (tmp_path / name).symlink_to(to)
    with pytest.raises(ReproError, match="symbolic links"):
        write_output(tmp_path / links[0], TEXT)


def test_a_named_pipe_is_written_into(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, TEXT)
    reader.join(timeout=10)
    assert read == [TEXT.encode()]
    assert pipe.is_fifo()


@pytest.fixture
def device(tmp_path):
    """Make a device; not the system's own, which root would lose if the code were wrong."""

    def make(minor):
        path = tmp_path / f"device{minor}"
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            pytest.skip(f"no device can be made here: {error.strerror}")
        return path

    return make


def test_a_device_is_written_into(device, tmp_path):
    null = device(3)
    (tmp_path / "link").symlink_to(null)
    write_output(tmp_path / "link", TEXT)
    write_output(null, b"\0")
    assert null.is_char_device()


def test_a_full_device_is_named(device):
    full = device(7)
    with pytest.raises(ReproError, match=r"cannot write .*: the disk is full"):
        write_output(full, TEXT)
    assert full.is_char_device()


def test_a_directory_is_named(tmp_path):
    for path in (tmp_path, Path("."), tmp_path / "..", Path("/")):
        with pytest.raises(ReproError, match="Is a directory"):
            write_output(path, TEXT)


@pytest.mark.parametrize("write", [write_output, write_atomically])
def test_a_name_as_long_as_the_system_allows(write, tmp_path):
    """255 bytes: of them no temporary name can be made by adding something."""
    for name in ("x" * 255, "é" * 127 + "x"):
        write(tmp_path / name, b"1")
        write(tmp_path / name, b"2")
        assert (tmp_path / name).read_bytes() == b"2"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("write", [write_output, write_atomically])
def test_a_new_file_obeys_the_umask_and_an_old_one_keeps_its_mode(write, umask, tmp_path):
    write(tmp_path / "new", b"1")
    assert read_mode(tmp_path / "new") == 0o666 & ~umask
    for mode in (0o600, 0o666, 0o755, 0o444):
        (tmp_path / "old").touch()
        (tmp_path / "old").chmod(mode)
        write(tmp_path / "old", b"2")
        assert read_mode(tmp_path / "old") == mode
        assert (tmp_path / "old").read_bytes() == b"2"


def test_content_of_a_private_file_is_at_no_moment_open_to_others(monkeypatch, tmp_path):
    (tmp_path / "private").touch()
    (tmp_path / "private").chmod(0o600)
    modes = []
    change = os.fchmod
    monkeypatch.setattr(
        os, "fchmod", lambda file, mode: (modes.append(os.fstat(file).st_mode & 0o777), change(file, mode))
    )
    write_output(tmp_path / "private", TEXT)
    assert modes == [0o600]


@pytest.mark.parametrize("write", [write_output, write_atomically])
def test_a_temporary_name_cannot_be_foreseen_and_nothing_at_it_is_followed(write, tmp_path, monkeypatch):
    names = []
    for _ in range(2):
        monkeypatch.setattr(os, "replace", lambda source, path: (names.append(source), os.rename(source, path)))
        write(tmp_path / "file", b"1")
    assert len(set(names)) == 2
    monkeypatch.setattr(paths.os, "urandom", lambda n: b"\0" * n)  # as if somebody had guessed it
    (tmp_path / "victim").write_text("whole")
    (tmp_path / f".file.{'00' * 8}").symlink_to("victim")
    with pytest.raises(ReproError, match="File exists"):
        write(tmp_path / "file", b"2")
    assert (tmp_path / "victim").read_text() == "whole"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_and_no_other(error, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((ReproError, KeyboardInterrupt)):
        write_output(tmp_path / "file", TEXT)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def run(program, *arguments, **options):
    """Run Python code that writes TEXT to the path in sys.argv[1]."""
    code = f"import sys; from pathlib import Path; from repro.files.outputs import *; {program}"
    return subprocess.run([sys.executable, "-c", code, *arguments], timeout=60, check=False, **options)


@pytest.fixture
def stdout_link(tmp_path):
    """What /dev/stdout is, in a place where it may be lost."""
    if not os.path.islink("/proc/self/fd/1"):
        pytest.skip("needs /proc")
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    return tmp_path / "stdout"


def test_what_a_shell_redirected_is_written_at_its_place(stdout_link, tmp_path):
    """Not replaced: the shell's file would be another one, and what stood before would be gone."""
    (tmp_path / "log").write_text("before\n")
    program = "print('first'); write_output(Path(sys.argv[1]), 'second\\n'); print('third')"
    with (tmp_path / "log").open("a") as log:
        assert run(program, stdout_link, stdout=log).returncode == 0
    assert (tmp_path / "log").read_text() == "before\nfirst\nsecond\nthird\n"
    assert run(program, stdout_link, stdout=subprocess.PIPE).stdout == b"first\nsecond\nthird\n"
    assert stdout_link.is_symlink()


def test_a_dash_is_stdout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = "print('first'); write_output(Path('-'), b'\\xff\\n'); append_output(Path('-'), 'x')"
    assert run(program, stdout=subprocess.PIPE).stdout == b"first\n\xff\nx"
    assert list(tmp_path.iterdir()) == []


def test_bytes_do_not_go_to_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(ReproError, match="terminal"):
        write_output(Path("-"), b"PK")


def test_appending_follows_links_and_keeps_what_is_there(tmp_path):
    (tmp_path / "summary").write_text("before\n")
    (tmp_path / "link").symlink_to("summary")
    append_output(tmp_path / "link", TEXT)
    assert (tmp_path / "summary").read_text(encoding="utf-8") == f"before\n{TEXT}"
    assert (tmp_path / "link").is_symlink()
    with pytest.raises(ReproError, match="Is a directory"):
        append_output(tmp_path, TEXT)


def test_what_is_said_of_an_output_does_not_mix_with_it(capsys, stdout_link, tmp_path):
    assert is_stdout(Path("-"))
    for output in (Path("-"), stdout_link):
        options.say_beside(output)("beside")
    assert capsys.readouterr() == ("", "beside\nbeside\n")
    for output in (None, tmp_path / "file"):
        options.say_beside(output)("beside")
    assert capsys.readouterr() == ("beside\nbeside\n", "")


def test_a_rename_that_was_done_though_it_is_said_that_it_was_not(tmp_path, monkeypatch):
    """A file server whose answer was lost is asked again, and then there is no such file any more."""
    replace_ = os.replace

    def replace(source, target):
        replace_(source, target)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    def fail(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    (tmp_path / "file").write_text("before")
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_text() == "after"
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ReproError, match="cannot write"):
        write_atomically(tmp_path / "file", b"never")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["after"]


#: What else writes files, and why it may: by module, the calls.
_ALLOWED = {
    "analysis/figures.py": {"savefig"},  # into memory
    "checkpoints/cache.py": {"open", "os.replace"},  # the part of a download, which becomes the file
    "data/miniature/coco.py": {"save", "write_bytes"},  # in a directory that is renamed when it is whole
    "data/miniature/imagenet.py": {"save"},
    "data/miniature/kinetics.py": {"open"},
    "data/miniature/whole.py": {"os.replace", "write_bytes"},
    "evaluation/submission.py": {"open"},  # an archive in memory
    "engine/memory.py": {"write_text"},  # of /proc
    "engine/fitted.py": {"os.replace"},  # what is damaged is put aside
    "engine/state.py": {"open", "os.replace"},  # a log, line by line; what is damaged is put aside
    "analysis/survey.py": {"open"},  # a line for each image
    "engine/loggers.py": {"open"},  # a table, row by row
    "files/outputs.py": {"open"},
    "inference/drawing.py": {"save", "savefig"},  # into memory
    "jobs/ledger.py": {"open"},  # a line for each job
    "paths.py": {"open", "os.replace"},
    "planning/official_data.py": {"os.replace"},  # what is whole gets its name
    "rendering/bundle.py": {"write_bytes"},  # in a temporary directory
    "rendering/curves.py": {"savefig"},  # into memory
}
_WRITING = {"write_text", "write_bytes", "rename", "touch", "savefig"}
_OS = {"replace", "rename", "link", "symlink"}
_LIBRARY = {"copy", "copy2", "copyfile", "copytree", "move", "mkstemp", "NamedTemporaryFile", "mktemp"}
#: A module without one of these need not be parsed.
_SUSPECTS = re.compile(r"open\(|\.save\(|\b(touch|shutil|tempfile|replace|rename|write_text|write_bytes|savefig)\b")


def list_writes():
    """(module, call) wherever the package writes a file without the functions for it, or may do so."""
    package = Path(paths.__file__).parent
    for path in sorted(package.rglob("*.py")):
        module, text = path.relative_to(package).as_posix(), path.read_text()
        if not _SUSPECTS.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name(id="open") | ast.Attribute(attr="open"):
                    modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                    if any(set(mode) <= set("rwxabt+") and set(mode) & set("wax+") for mode in modes):
                        yield module, "open"
                case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in _OS:
                    yield module, f"os.{attribute}"
                case ast.Attribute(value=ast.Name(id="shutil" | "tempfile"), attr=attribute) if attribute in _LIBRARY:
                    yield module, attribute
                case ast.Attribute(attr="save", value=ast.Call()):
                    yield module, "save"
                case ast.Attribute(attr=attribute) if attribute in _WRITING:
                    yield module, attribute


def test_everything_is_written_by_the_functions_for_it():
    assert set(list_writes()) <= {(module, call) for module, calls in _ALLOWED.items() for call in calls}


def test_what_the_user_names_is_an_output():
    """A verb and a rendering write where a link leads, and never replace it."""
    package = Path(paths.__file__).parent
    for path in (*(package / "cli").rglob("*.py"), *(package / "rendering").rglob("*.py")):
        assert "write_atomically" not in path.read_text(), path
