"""Every verb under every condition of a terminal: the exit codes of docs/exit-codes.md, and never a traceback.

A verb runs in this process with streams, variables and calls of the system put in the place of the real ones, once as
ever and once under each condition. Directories that may not be entered and names that are no UTF-8 are in
test_places.py, real processes in test_streams.py.
"""

from __future__ import annotations

import errno
import io
import json
import os
import pwd
import sys

import pytest
import typer
from samples import published, record
from verbs import GC, MEASURES, NL, OTHERS, READS, WRITES

from repro import cli, paper
from repro.records import Store

#: Of verbs that have several options, one each; what begins to measure is asked for what is not there.
_LEFT_OUT = {
    *MEASURES,
    *(f"analyze --{option}" for option in ("data-root", "model", "results", "weights")),
    *(f"run --{option}" for option in ("init", "weights", "weights ID=", "weights FORMAT=")),
    "checkpoints verify --id", "data verify --root", "data verify kinetics --root", "complexity --model",
    "diff of files", "submit --weights", "record-external --metrics", "bundle --results", "report --results",
}  # fmt: skip
_JSON = {
    "verify --json": ["verify", "--results", "PLACE", "--json"],
    "explain --json": ["explain", "2/a/baseline", "--results", "PLACE", "--json"],
    "status --json": ["status", "--results", "PLACE", "--json"],
}
_MEASURES = {
    "run": ["run", f"{GC}-of-nobody", "--results", "PLACE"],
    "reproduce": ["reproduce", "--table", "2", "--profile", "elsewhere", "--results", "PLACE"],
    "complexity": ["complexity", "--experiment", f"{NL}-of-nobody"],
}
VERBS = {name: words for name, words in {**READS, **OTHERS}.items() if name not in _LEFT_OUT}
VERBS |= WRITES | _JSON | _MEASURES


class Broken(io.BytesIO):
    """A descriptor whose other side is gone, or full."""

    number = errno.ENOSPC

    def write(self, _):
        raise OSError(self.number, os.strerror(self.number))


class Deserted(Broken):
    number = errno.EPIPE


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("terminals") / "results"
    store = Store(directory / "records")
    for name in ("coco-r50-baseline", "coco-r50-1gc"):
        store.add(record(name, published(paper.load(2), name), deviations=["≈ 2 GPUs, caf\xe9"]))
    return directory


@pytest.fixture
def run(results, tmp_path, monkeypatch):
    """Run a verb; returns its exit code and what it wrote, as bytes, on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    for name in ("REPRO_DATA", "REPRO_RESULTS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(verb, out=io.BytesIO, error=io.BytesIO, encoding="utf-8"):
        words = [word.replace("STORE", str(results)) for word in VERBS[verb]]
        place = results if "--results" in words and "STORE" not in VERBS[verb] else tmp_path / "absent"
        raw = [kind and kind() for kind in (out, error)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["repro", *(word.replace("PLACE", str(place)) for word in words)])
            for name, stream in zip(("stdout", "stderr"), raw, strict=True):
                wrapped = None if stream is None else _Wrapper(stream, encoding=encoding)
                patch.setattr(sys, name, wrapped)
            with pytest.raises(SystemExit) as end:
                cli.main()
            written = [b"" if stream is None else stream.getvalue() for stream in raw]
            written = [text.replace(str(tmp_path).encode(), b"HERE") for text in written]
        assert b"Traceback" not in written[0] + written[1]
        return end.value.code or 0, *written

    return run


class _Wrapper(io.TextIOWrapper):
    def __del__(self):  # what is buffered for a full disk is not tried again
        pass


@pytest.fixture(scope="module")
def as_ever():
    """What each verb gave under no condition."""
    return {}


@pytest.fixture
def usual(run, as_ever):
    def usual(verb):
        if verb not in as_ever:
            as_ever[verb] = run(verb)
        return as_ever[verb]

    return usual


#: What takes a second or more: under one condition of each kind.
_HEAVY = {"analyze --images", "bundle --output", "figure --images", "report --output", "tables --check"}
every_verb = pytest.mark.parametrize("verb", VERBS)


def under(name, first, *others):
    """Run every verb under the first condition, and what takes no time under the others."""
    pairs = [(verb, first) for verb in VERBS]
    pairs += [(verb, other) for other in others for verb in VERBS if verb not in _HEAVY]
    ids = [f"{verb}-{getattr(value, '__name__', value)}" for verb, value in pairs]
    return pytest.mark.parametrize(("verb", name), pairs, ids=ids)


@every_verb
def test_as_ever(verb, usual):
    code, out, error = usual(verb)
    assert code in (0, 1, 2)
    assert (code == 2) == (b"error: " in error)
    assert out or code or verb == "table --output"
    if "--json" in verb:
        json.loads(out)


@under("encoding", "ascii", "latin-1")
def test_a_narrow_encoding(verb, encoding, run, usual):
    code, out, _ = run(verb, encoding=encoding)
    assert code == usual(verb)[0]
    text, whole = out.decode(encoding), usual(verb)[1].decode()
    if "--json" in verb:
        assert json.loads(text) == json.loads(whole)
    elif whole.isascii():
        assert text == whole
    else:
        assert "\\u" in text


@under("out", Broken, None, Deserted)
def test_no_stdout(verb, out, run, usual):
    code, _, error = run(verb, out=out)
    if not usual(verb)[1]:
        assert code == usual(verb)[0]
        return
    if out is Deserted:
        assert code == 141
        assert b"error: " not in error
    else:
        assert code == 2
        why = b"the disk is full" if out else b"it is closed"
        assert error.endswith(b"error: cannot write standard output: " + why + b"\n")


@under("error", Broken, None, Deserted)
def test_no_stderr(verb, error, run, usual):
    assert run(verb, error=error)[:2] == usual(verb)[:2]


@every_verb
def test_no_stdin_a_narrow_terminal_and_no_home(verb, run, usual, monkeypatch, tmp_path):
    def find_nobody(_):
        raise KeyError

    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("REPRO_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_nobody)
    code, out, _ = run(verb)
    assert (code, out) == usual(verb)[:2]
    assert not (tmp_path / "~").exists()


@every_verb
def test_directories_that_may_not_be_written(verb, run, usual, results, monkeypatch, tmp_path):
    """The system's calls are replaced, as root may write everywhere."""

    def refuse(name):
        call = getattr(os, name)

        def called(path, *args, **kwargs):
            writes = not kwargs.get("dir_fd") and (name != "open" or bool(args and args[0] & (os.O_WRONLY | os.O_RDWR)))
            places = (str(results), str(tmp_path))
            if writes and isinstance(path, str | os.PathLike) and os.fspath(os.path.abspath(path)).startswith(places):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))
            return call(path, *args, **kwargs)

        return called

    for name in ("open", "mkdir", "replace", "rename", "unlink"):
        monkeypatch.setattr(os, name, refuse(name))
    code, _, error = run(verb)
    if verb in WRITES and "--summary" not in verb:
        assert code == 2
        assert error.splitlines()[-1].startswith(b"error: cannot write ")
        assert b"Read-only file system" in error
    else:
        assert code == usual(verb)[0]


def test_every_verb_is_among_them():
    def walk(command, words):
        below = getattr(command, "commands", {})
        if not below:
            yield " ".join(words)
        for name, verb in below.items():
            yield from walk(verb, [*words, name])

    known = [" ".join(words) for words in VERBS.values()]
    for verb in walk(typer.main.get_command(cli.app), []):
        assert any(f"{words} ".startswith(f"{verb} ") for words in known), verb
