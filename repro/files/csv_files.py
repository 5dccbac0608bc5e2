"""CSV files that somebody else may have made: a row on each line, and as many fields in each as the header has."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from repro.errors import ReproError
from repro.files.text_files import read_text, split_lines


def iterate_rows(
    path: Path,
    limit: int,
    columns: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[tuple[int, dict[str, str]]]:
    """Iterate over the rows of a CSV file with a header: (number of the line, {column: field}).

    Every line is a row of its own, so that a quote that is not closed cannot swallow the rows that follow. Blank lines
    are left out, and spaces around a field.

    Args:
        limit: bytes that the file has at most.
        columns: the columns that are wanted, each with all names that it may have.
        optional: those that a file may lack; then they are not in the rows.

    Raises:
        ReproError: the file cannot be read, is no text, lacks a column or has it twice, or has a row with a quote that
            is not closed, a field beyond csv's limit, or another number of fields; file and line are named.
    """
    lines = enumerate(split_lines(read_text(path, limit)), 1)
    rows = ((number, _parse_line(line, f"{path}, line {number}")) for number, line in lines if line.strip())
    _, header = next(rows, (0, []))
    places = {column: _find_column(path, header, names) for column, names in columns.items()}
    absent = [column for column, place in places.items() if place is None]
    places |= {column: _find_column(path, header, names) for column, names in optional.items()}
    if absent:
        raise ReproError(f"{path} has no column {', '.join(absent)}; its first line has {_abbreviate(header)}")
    for number, row in rows:
        if len(row) != len(header):
            raise ReproError(
                f"{path}, line {number}: it has {len(row)} fields, the header {len(header)}: {_abbreviate(row)}"
            )
        yield number, {column: row[place] for column, place in places.items() if place is not None}


def _parse_line(line: str, where: str) -> list[str]:
    try:
        (row,) = csv.reader([line], strict=True)
    except csv.Error as error:
        reason = "a quote is not closed" if "unexpected end of data" in str(error) else str(error)
        raise ReproError(f"{where}: {reason}. A row has to stand on one line: {line[:60]!r}") from None
    return [field.strip() for field in row]


def _find_column(path: Path, header: list[str], names: Sequence[str]) -> int | None:
    """The place of the column in the header, if it has it."""
    found = [place for place, name in enumerate(header) if name in names]
    if len(found) > 1:
        raise ReproError(f"{path} has a column {names[0]} twice: {', '.join(header[place] for place in found)}")
    return found[0] if found else None


def _abbreviate(fields: list[str]) -> str:
    return repr(", ".join(fields)[:80])
