"""Help as a user meets it: of every verb by -h, whole at any width, and the program's version."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest
import typer
from command_tree import VERBS
from typer.testing import CliRunner

from repro.cli import app, help
from repro.records import environment


def show(*words: str, columns: int = 80) -> str:
    """What the command line prints in a terminal of this width."""
    result = CliRunner().invoke(app, list(words), prog_name="repro", env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("words", [(), ("checkpoints",), ("data",), ("export",), *VERBS], ids=" ".join)
def test_h_is_help(words):
    short, long = show(*words, "-h"), show(*words, "--help")
    assert short == long
    assert short.startswith(f"Usage: {' '.join(['repro', *words])} ")
    assert "-h, --help" in short


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("group", [(), ("checkpoints",), ("data",), ("export",)], ids=" ".join)
def test_the_list_of_verbs_has_the_whole_first_sentence_of_each(group, columns):
    shown = " ".join(show(*group, "-h", columns=columns).split())
    of_group = {words[len(group)]: verb for words, verb in VERBS.items() if words[:-1] == group}
    assert of_group
    for name, verb in of_group.items():
        first = " ".join(verb.callback.__doc__.split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        assert f"{name} {first}" in shown
    assert "..." not in shown.replace("[ARGS]...", "")


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("words", [(), *VERBS], ids=" ".join)
def test_no_line_but_an_example_is_wider_than_the_terminal(words, columns):
    shown = show(*words, "-h", columns=columns)
    examples = help.list_examples(shown)
    wide = [
        line
        for line in shown.splitlines()
        if len(line) > min(columns, 120) and line.strip().removeprefix("Example: ") not in examples
    ]
    assert wide == []


def test_each_example_stands_on_a_line_of_its_own():
    for words, verb in VERBS.items():
        written = help.list_examples(verb.callback.__doc__)
        assert written, f"{' '.join(words)} has no example"
        assert help.list_examples(show(*words, "-h")) == written


def test_verbs_stand_below_what_they_are_for():
    shown = show("-h", columns=200)
    headings = re.findall(r"^(\S.*):$", shown, flags=re.MULTILINE)
    assert headings == ["Options", *help.PANELS]
    below = {
        part.splitlines()[0].rstrip(":"): re.findall(r"^  (\S+)  ", part, flags=re.MULTILINE)
        for part in re.split(r"\n\n(?=\S)", shown)
    }
    assert below["Weights"] == ["checkpoints"]
    assert below["Data"] == ["data"]
    assert {"plan", "run", "reproduce"} < set(below["Measure"])
    assert {"verify", "diff", "effects"} < set(below["Compare with the paper and with each other"])
    assert {"report", "bundle"} < set(below["Share"])
    assert sum(map(len, below.values())) - len(below["Options"]) == len({words[0] for words in VERBS})


def test_the_version_is_the_packages_and_the_commit_is_gits(monkeypatch):
    monkeypatch.setattr(environment, "read_commit", lambda: ("0123abc", True))
    assert show("--version") == "gcnet-repro 0.1.0, commit 0123abc with changes\n"
    monkeypatch.setattr(environment, "read_commit", lambda: (None, False))
    assert show("--version") == "gcnet-repro 0.1.0\n"


#: What pip writes for `pip install git+https://example.org/a.git`, for a file, and for an index: PEP 610.
ORIGINS = {
    json.dumps({"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}): "0123abc",
    json.dumps({"url": "file:///a.whl", "archive_info": {}}): None,
    "[]": None,
    "{": None,
    None: None,
}


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_installed_package_has_the_commit_that_it_was_installed_from(origin, monkeypatch):
    monkeypatch.setattr(environment, "INSTALLED", True)
    monkeypatch.setattr(environment, "distribution", lambda name: SimpleNamespace(read_text=lambda file: origin))
    assert environment.read_commit() == (ORIGINS[origin], False)


def test_a_copy_that_nobody_installed_has_no_commit(monkeypatch):
    def find_none(name: str):
        raise PackageNotFoundError

    monkeypatch.setattr(environment, "INSTALLED", True)
    monkeypatch.setattr(environment, "distribution", find_none)
    assert environment.read_commit() == (None, False)


@pytest.mark.parametrize("words", [["-h"], ["--version"], ["run", "-h"], ["plan", "-h"]], ids=" ".join)
def test_help_and_version_import_neither_torch_nor_scipy_nor_rich(words):
    program = (
        "import sys; sys.argv = ['repro', *sys.argv[1:]]\n"
        "from repro.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "found = {'torch', 'scipy', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    process = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr


def test_a_group_without_a_panel_lists_its_verbs_as_commands():
    group = help.create_group("A group.")
    group.command("one", cls=help.Verb)(lambda: None)
    group.command("two", cls=help.Verb)(lambda: None)
    assert "\nCommands:\n  one" in CliRunner().invoke(group, ["-h"]).output
    assert isinstance(group, typer.Typer)


def test_many_options_stand_below_what_they_are_for():
    parts = re.split(r"\n\n(?=\S)", show("run", "-h", columns=200))
    below = {part.splitlines()[0].rstrip(":"): set(re.findall(r"^  (--\S+)", part, re.M)) for part in parts}
    assert list(below)[-4:] == [*help.OPTION_PANELS]
    assert {"--profile", "--source", "--weights", "--set"} <= below[help.ASKED]
    assert {"--iterations", "--batch-size", "--precision"} <= below[help.TRAINING]
    assert {"--device", "--devices", "--workers", "--data-root"} <= below[help.MACHINE]
    # Each option stands once: the argument is none, and --help is none of the parameters.
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+)", show("run", "-h", columns=200), re.M)
    assert len(shown) == len(set(shown)) == len(VERBS["run",].params)
