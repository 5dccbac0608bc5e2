"""`tables/generated/`: renderings of the committed records, and the proof that they are nothing else."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory

from repro import paper
from repro.errors import ReproError
from repro.files.places import is_directory, is_there, list_directory
from repro.files.regular_files import read_regular
from repro.paths import INSTALLED, TABLES
from repro.records import Store
from repro.rendering.tables import write_renderings

_LIMIT = 16 << 20  #: bytes of a rendering
#: The records that the committed tables are rendered from.
REFERENCE = TABLES / "reference" / "records"
GENERATED = TABLES / "generated"


def write(records: Path = REFERENCE, directory: Path = GENERATED) -> list[Path]:
    """Render all five tables in every format into `directory`; the paths that were written.

    Raises:
        ReproError: there are no records, one is damaged, the directory cannot be written, or it is part of an installed
            package.
    """
    if INSTALLED and directory == GENERATED:
        raise ReproError(
            f"{directory} belongs to an installed package, which is not written into. The committed tables are "
            "rendered in a checkout of the repository. `repro tables --check` checks those here, and `repro table N` "
            "renders your own records."
        )
    if not is_directory(records):
        raise ReproError(f"{records} does not exist: the committed tables are rendered from the records there")
    store = Store(records)
    return [path for table in paper.load_all() for path in write_renderings(table, store, directory)]


def find_differences(records: Path = REFERENCE, directory: Path = GENERATED) -> list[str]:
    """Find what in `directory` is not, byte for byte, a rendering of `records`: each file, with its first other line.

    Raises:
        ReproError: there are no records, or one is damaged.
    """
    with TemporaryDirectory() as temporary:
        expected = {path.name: read_regular(path, _LIMIT) for path in write(records, Path(temporary))}
    differences = []
    for name, content in expected.items():
        path = directory / name
        if not is_there(path):
            differences.append(f"{path} is missing")
            continue
        committed = read_regular(path, _LIMIT)
        if committed != content:
            differences.append(f"{path} is not a rendering of the records: {_locate(committed, content)}")
    extra = [path.name for path in list_directory(directory) if path.name not in expected]
    return differences + [f"{directory / name} is not among the renderings" for name in extra]


def _locate(committed: bytes, rendered: bytes) -> str:
    """Say in which line two files differ first."""
    lines = zip_longest(committed.splitlines(keepends=True), rendered.splitlines(keepends=True))
    number, (old, new) = next((n, pair) for n, pair in enumerate(lines, 1) if pair[0] != pair[1])
    start = 0
    if old is not None and new is not None:
        same = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
        start = max(same - 30, 0)
    return f"line {number} is {_quote(old, start)}, should be {_quote(new, start)}"


def _quote(line: bytes | None, start: int) -> str:
    """Quote a line of a file, a long one from shortly before where it differs."""
    if line is None:
        return "not there"
    text = line.decode("utf-8", "backslashreplace").rstrip("\n")
    return repr(("..." if start else "") + text[start : start + 100] + ("..." if len(text) > start + 100 else ""))
