"""Every verb and every place that it takes: what cannot be read ends in one message and exit code 2."""

from __future__ import annotations

import ast
import errno
import os
import signal
import sys
from pathlib import Path

import pytest
import typer
from samples import published, record
from verbs import MEASURES, READS, SHARED, WRITES, WRITTEN_LAST

from repro import cli, paper
from repro.records import Store

#: Options that name one file, which is opened.
OF_FILES = [
    "analyze --images", "analyze --model", "analyze --weights", "bundle --verify", "checkpoints import",
    "checkpoints verify", "checkpoints verify --id", "checkpoints convert", "complexity --model", "diff of files",
    "predict --weights", "run --init", "run --weights", "run --weights ID=", "run --weights FORMAT=",
    "record-external --metrics",
]  # fmt: skip
#: Verbs that read records, one each.
_OF_OTHERS = "analyze", "complexity", "curves", "jobs"  #: verbs that read other results than records
OF_RECORDS = [name for name in READS if name.endswith("--results") and not name.startswith(_OF_OTHERS)]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty directory; returns its exit code and what it printed on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "annotations").mkdir()  # of a data set that is there, as far as its identity goes
    for split in ("train", "val"):
        (tmp_path / "annotations" / f"instances_{split}2017.json").write_text("{}")
    for name in ("REPRO_DATA", "REPRO_RESULTS"):
        monkeypatch.delenv(name, raising=False)

    def run(words, place):
        words = [word.replace("PLACE", str(place)) for word in words]
        monkeypatch.setattr(sys, "argv", ["repro", *words])
        signal.signal(signal.SIGALRM, _hangs)
        signal.alarm(120)
        try:
            with pytest.raises(SystemExit) as end:
                cli.main()
        finally:
            signal.alarm(0)
        return end.value.code, capsys.readouterr().err

    return run


def _hangs(*_):
    raise TimeoutError("it waits for something that never comes")


def loop(directory):
    (directory / "loop").symlink_to("loop")
    return directory / "loop"


def dangling(directory):
    (directory / "dangling").symlink_to("nowhere")
    return directory / "dangling"


def below_a_file(directory):
    (directory / "file").write_text("")
    return directory / "file" / "below"


PLACES = {
    "a loop": (loop, "leads back to itself", "symbolic links"),
    "below a loop": (lambda d: loop(d) / "below", "leads back to itself", "symbolic links"),
    "a long name": (lambda d: d / ("x" * 300), "longer than the system allows", "name too long"),
    "a long path": (lambda d: d / "/".join(["x" * 100] * 50), "longer than the system allows", "name too long"),
    "a link to nothing": (dangling, "nowhere, which does not exist", "File exists"),
    "below a link to nothing": (lambda d: dangling(d) / "below", "nowhere, which does not exist", "File exists"),
    "below a file": (below_a_file, "no directory", "Not a directory"),
}


def require_one_message(code, printed, *parts):
    assert code == 2, printed
    assert [line for line in printed.splitlines() if line.startswith("error: ")] == [*printed.splitlines()[-1:]], (
        printed
    )
    assert "Traceback" not in printed
    assert any(part in printed for part in parts), printed


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("verb", READS)
def test_what_cannot_be_read_is_named(verb, place, run, tmp_path):
    make, *reasons = PLACES[place]
    path = make(tmp_path)
    require_one_message(*run(READS[verb], path), *reasons)


@pytest.mark.parametrize("place", ["a loop", "a long name", "below a file"])
@pytest.mark.parametrize("verb", WRITES)
def test_what_cannot_be_written_is_named(verb, place, run, tmp_path):
    store = Store(tmp_path / "results" / "records")
    store.add(record("coco-r50-1gc", published(paper.load(2), "coco-r50-1gc")))
    words = [word.replace("STORE", str(tmp_path / "results")) for word in WRITES[verb]]
    require_one_message(*run(words, PLACES[place][0](tmp_path)), "cannot write")


@pytest.fixture
def unreadable(tmp_path, monkeypatch):
    """A directory that may not be entered; the system's calls are replaced, as root may enter every one."""
    directory = tmp_path / "closed"
    directory.mkdir()

    def refuse(call):
        def called(path, *args, **kwargs):
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(f"{directory}/"):
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return call(path, *args, **kwargs)

        return called

    for name in ("stat", "lstat", "open", "listdir", "scandir", "mkdir"):
        monkeypatch.setattr(os, name, refuse(getattr(os, name)))
    return directory


@pytest.mark.parametrize("verb", READS)
def test_a_directory_that_may_not_be_entered_is_named(verb, run, unreadable):
    require_one_message(*run(READS[verb], unreadable / "below"), "Permission denied")


@pytest.mark.parametrize("verb", [verb for verb in READS if verb not in MEASURES])
def test_a_name_that_is_no_utf8_is_no_traceback(verb, run, tmp_path):
    """It is a name like others: where nothing need be there, it is no error either."""
    code, printed = run(READS[verb], tmp_path / os.fsdecode(b"caf\xe9"))
    if "--results" not in verb:
        require_one_message(code, printed, "caf\\udce9")
    assert code in (0, 1, 2)
    assert "Traceback" not in printed


SPECIAL = {
    "a named pipe": (lambda path: os.mkfifo(path), "named pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "a directory": (lambda path: path.mkdir(), "directory"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "nowhere, which does not exist"),
    "a link to itself": (lambda path: path.symlink_to(path), "leads back to itself"),
    "far too large": (lambda path: (path.touch(), os.truncate(path, 1 << 43)), "such a file has at most"),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("verb", OF_FILES)
def test_what_is_no_file_is_named(verb, kind, run, tmp_path):
    make, reason = SPECIAL[kind]
    make(tmp_path / "file")
    if (verb, kind) == ("analyze --images", "a directory"):
        reason = "has no images"
    if (verb, kind) == ("diff of files", "a directory"):
        return  # of records: none
    require_one_message(*run(READS[verb], tmp_path / "file"), reason)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("verb", OF_RECORDS)
def test_a_record_that_is_no_file_is_named(verb, kind, run, tmp_path):
    (tmp_path / "store" / "records").mkdir(parents=True)
    make, reason = SPECIAL[kind]
    make(tmp_path / "store" / "records" / "coco-r50-1gc.json")
    require_one_message(*run(READS[verb], tmp_path / "store"), reason)


@pytest.mark.parametrize("kind", ["a named pipe", "a link to nothing", "a link to itself", "a file"])
@pytest.mark.parametrize("part", ["records", "records/complexity", "records/seeds", "effects"])
def test_a_part_of_a_store_that_cannot_be_listed_does_not_count_as_an_empty_one(part, kind, run, tmp_path):
    path = tmp_path / "store" / part
    path.parent.mkdir(parents=True)
    make, reason = SPECIAL.get(kind, (lambda path: path.write_text(""), "no directory but a file"))
    make(path)
    verb = {"records/seeds": "status --results"}.get(part, "report --results")
    require_one_message(*run(READS[verb], tmp_path / "store"), reason)


def test_no_option_that_names_a_place_is_left_out():
    known = {" ".join(name.split()[:3]) for name in READS} | WRITES.keys() | WRITTEN_LAST | SHARED
    known |= {"checkpoints import", "checkpoints verify", "checkpoints convert", "compare", "diff"}

    def walk(command, words):
        for name, below in getattr(command, "commands", {}).items():
            yield from walk(below, [*words, name])
        for parameter in command.params:
            if parameter.type.name == "path" or parameter.name in ("weights", "initial", "model", "a", "b"):
                option = parameter.opts[0] if parameter.opts[0].startswith("-") else ""
                yield " ".join([*words, option]).strip()

    found = set(walk(typer.main.get_command(cli.app), []))
    known = {name for name in known if name in found}
    assert found - known == set()


#: What asks for files otherwise, and why it may: by module, the calls.
_ALLOWED = {
    "__main__.py": {"os.open"},  # /dev/null
    "checkpoints/cache.py": {"glob", "lstat", "open", "os.open"},  # of its own layout; links are not followed
    "checkpoints/initial_weights.py": {"os.path.isfile"},  # torch hub's cache: what is not there is downloaded
    "checkpoints/torch_files.py": {"is_dir"},  # an entry of an archive
    "checkpoints/weight_names.py": {"os.path.isfile"},  # of a text that may be an id
    "cli/analysis_options.py": {"resolve"},  # an engine
    "cli/export.py": {"resolve"},
    "cli/predict.py": {"resolve"},
    "cli/streams.py": {"os.open"},  # /dev/null
    "cli/measuring_options.py": {"resolve"},
    "data/decoder_trial.py": {"os.open"},  # /dev/null
    "data/given_files.py": {"iterdir", "stat"},  # within a handler that names what is wrong
    "data/image_files.py": {"os.listdir"},  # within handlers
    "data/kinetics_lists.py": {"is_dir", "os.listdir", "os.scandir"},
    "data/miniature/content.py": {"os.walk"},
    "data/storage.py": {"is_dir", "os.scandir"},
    "data/zip_archive.py": {"is_dir"},  # an entry of an archive
    "data/synsets.py": {"read_text"},  # the package's own files
    "detection/detectron2/initial_weights.py": {"open"},  # what fvcore's path handlers are called
    "detection/engines.py": {"read_text"},  # of an installed distribution
    "engine/cuda.py": {"read_text"},  # of an installed distribution
    "engine/instructions.py": {"read_text"},  # of /proc
    "engine/memory.py": {"read_text"},
    "files/outputs.py": {"open", "os.open", "os.stat"},  # what is written
    "files/leases.py": {"lstat", "os.listdir", "os.open", "read_bytes", "read_text"},  # of its own layout; of /proc
    "files/places.py": {"os.listdir", "os.open", "os.stat"},
    "files/regular_files.py": {"open", "os.open", "os.path.exists", "os.stat"},
    "records/environment.py": {"read_text"},  # of this distribution, where it is installed
    "paths.py": {
        "is_dir",
        "resolve",
        "lstat",
        "open",
        "os.open",
        "os.stat",
    },  # the package's own directory; what is written
}
_ASKING = {"exists", "is_file", "is_dir", "iterdir", "stat", "lstat", "glob", "rglob", "resolve"}
_READING = {"read_bytes", "read_text"}
_OS = {"stat", "listdir", "scandir", "walk", "access", "open"}


def list_bare_calls():
    """(module, call) wherever the package asks for what is at a path, or opens one, without the functions for it."""
    package = Path(cli.__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = path.relative_to(package).as_posix()
            match node.func:
                case ast.Name(id="open"):
                    yield name, "open"
                case ast.Attribute(value=ast.Name(id="os"), attr=attribute) if attribute in _OS:
                    yield name, f"os.{attribute}"
                case ast.Attribute(value=ast.Attribute(attr="path"), attr="exists" | "isfile" | "isdir" as attribute):
                    yield name, f"os.path.{attribute}"
                case ast.Attribute(attr=attribute) if attribute in _ASKING | _READING:
                    yield name, attribute


def test_nobody_asks_for_a_file_or_opens_one_without_the_functions_for_it():
    """`repro.files.places` and `repro.files.regular_files` turn what the system answers into one message."""
    allowed = {(module, call) for module, calls in _ALLOWED.items() for call in calls}
    assert set(list_bare_calls()) <= allowed
