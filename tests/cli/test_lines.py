"""A line of output is a line: no name or message begins another one. And an empty argument is no value."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from samples import record

from repro import cli
from repro.files import notices
from repro.files.printable import join_words
from repro.records import Store

FORGED = "Table 2: 108 of 108 distinct numbers measured"
NAME = f"a\n{FORGED}\n::add-mask::b"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a verb; returns its exit code, and what it printed on stdout and on stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("REPRO_DATA", "REPRO_RESULTS"):
        monkeypatch.delenv(name, raising=False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["repro", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture
def place(tmp_path):
    """A directory with the name, and in it: a store with a file of it, data sets with files and directories of it."""
    place = tmp_path / NAME
    store = Store(place / "results" / "records")
    store.add(record("coco-r50-1gc", {"ap_box": 38.1}))
    (store.directory / f"{NAME}.json").write_text('{"schema_version": 2}')
    copied = next(store.directory.glob("coco*.json"))
    (store.directory / f"{NAME}.copy.json").write_bytes(copied.read_bytes())  # a record under another name
    classes = place / "kinetics" / "val" / "abseiling"
    classes.mkdir(parents=True)
    (classes / f"{NAME}.mp4").write_bytes(b"no video")
    (place / "imagenet" / "val" / "n01440764").mkdir(parents=True)
    (place / "imagenet" / "val" / "n01440764" / "ILSVRC2012_val_00000293.JPEG").write_bytes(b"no image")
    (place / "bundle.zip").write_bytes(b"no archive")
    return place


VERBS = {
    "verify": ["verify", "--table", "2", "--results", "PLACE/results"],
    "status": ["status", "--results", "PLACE/results"],
    "diff": ["diff", "PLACE/results", "PLACE/results"],
    "effects": ["effects", "--table", "2", "--results", "PLACE/results"],
    "explain": ["explain", "2/a/+1 GC/ap_box", "--results", "PLACE/results"],
    "data verify imagenet": ["data", "verify", "imagenet", "--root", "PLACE/imagenet", "--split", "val", "--decode"],
    "data verify kinetics": ["data", "verify", "kinetics", "--root", "PLACE/kinetics", "--split", "val", "--decode"],
    "data verify coco": ["data", "verify", "coco", "--root", "PLACE/imagenet"],
    "bundle --verify": ["bundle", "--verify", "PLACE/bundle.zip"],
    "bundle --output": ["bundle", "--results", "PLACE/results", "--output", "PLACE/a.zip"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_name_begins_a_line(verb, run, place, monkeypatch):
    monkeypatch.setattr(cli, "_CONTROL", re.compile("(?!)"))  # such names are found, too, by who is given none
    code, *printed = run(*(word.replace("PLACE", str(place)) for word in VERBS[verb]))
    assert code in (0, 1, 2)
    assert FORGED in "".join(printed)
    out, error = (text.splitlines() for text in printed)
    assert [line for line in out if line.lstrip().startswith((FORGED, "::"))] == []
    assert [line for line in error if line.startswith((FORGED, "::"))] == []  # errors go on below, indented


def test_a_notice_is_one_line(capsys):
    notices.tell(f"waiting for {NAME}")
    assert capsys.readouterr().err == f"waiting for {NAME}\n".replace("\n", "\\u000a", 2)


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--results", ""],
        ["verify", "--results="],
        ["verify", "--require", ""],
        ["verify", "--junit="],
        ["table", "2", "--output", ""],
        ["data", "verify", "coco", "--root", ""],
        ["explain", ""],
        ["status", "", "--json"],
        [""],
    ],
)
def test_an_empty_argument_is_refused(words, run, tmp_path):
    (tmp_path / "records").mkdir()
    code, out, error = run(*words)
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: an argument is empty, .*: give a value, or leave it out\. Is a .*\n", error)
    assert words[-1] != "" or len(words) < 2 or words[-2] in error


@pytest.mark.parametrize("odd", ["two\nlines", "a\ttab", "\x1b[2J", "a\x85b", "a\u2028b"])
def test_an_argument_of_several_lines_or_that_commands_a_terminal_is_refused(odd, run, tmp_path, monkeypatch):
    """Of `--results "$(ls)"` a directory of several lines would be made, and commands that name it cut in pieces."""
    words = ["plan", "--table", "2", "--profile", "mini", "--results"]
    code, out, error = run(*words, str(tmp_path / odd))
    assert (code, out) == (2, "")
    assert "has the control character" in error
    assert error.count("\n") == 1
    assert odd not in error
    monkeypatch.setenv("REPRO_RESULTS", odd)
    code, out, error = run("status")
    assert (code, out) == (2, "")
    assert error.startswith("error: REPRO_RESULTS, ")
    assert list(tmp_path.iterdir()) == []


def read_as_shell(command):
    """The words that a shell makes of a command."""
    words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, cwd="/", check=True).stdout
    return words.split(b"\0")[:-1]


ODD_WORDS = [
    "my runs", "a'b", "$(touch x)", "a;b", 'say "it"', "~", "a\\b", "*", "caf\u00e9", "caf\udce9", "a\u202eb", "#a",
    "&", "two\nlines", "\x1b[2J", "'\\\udce9'", "",
]  # fmt: skip


@pytest.mark.parametrize("word", ODD_WORDS)
def test_words_of_a_command_are_printable_and_a_shell_reads_them_as_they_were(word):
    command = join_words(["repro", "--results", word, "a"])
    assert command.isprintable()
    assert read_as_shell(command) == [b"repro", b"--results", os.fsencode(word), b"a"]


def test_commands_that_are_shown_name_the_place_and_can_be_copied(run, tmp_path, monkeypatch):
    name = "caf\udce9 d'Or"
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "records").mkdir(parents=True)
    steps = json.loads(run("plan", "--table", "2", "--profile", "mini", "--results", name, "--json")[1])
    commands = [steps[0]["command"]]
    commands += [step["command"] for step in json.loads(run("status", "--results", name, "--json")[1])["next"]]
    (explained, *_) = json.loads(run("explain", "2/a/+1 GC/ap_box", "--results", name, "--json")[1])
    commands += explained["commands"]
    assert len(commands) > 5
    for command in commands:
        words = read_as_shell(command)
        assert words[words.index(b"--results") + 1] == os.fsencode(name), command


def test_a_value_that_is_empty_after_its_name_is_one(run):
    """`--reading POINT=` is no empty argument: what is wrong with it is said by who reads it."""
    code, _, error = run("plan", "--table", "2", "--profile", "mini", "--reading", "proposals=")
    assert code == 2
    assert "an argument is empty" not in error
