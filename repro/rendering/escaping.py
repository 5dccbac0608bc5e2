"""Text as the formats take it: what records and files say stays text, and starts no command, link or formula.

HTML is escaped by Jinja, XML by the library that writes it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from repro.files.printable import escape_controls

#: Where a line ends, for one program or another.
_LINES = re.compile("[ \t]*[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+[ \t]*")

_MARKDOWN = re.compile(r"[\\|*<\[\]`]|&(?=#?\w+;)|^(#(?=#*( |$))|[>~]|[-+](?= ))")
#: What begins a list, within which a heading may begin.
_NUMBERED = re.compile(r"^([0-9]{1,9})(?=[.)] )")
_CODE = re.compile(r"`([^`]+)`")

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", "|": r"\textbar{}", "[": "{[}", "]": "{]}",
}  # fmt: skip

#: As it is after escaping: 2^30.
_POWER = re.compile(r"(\d+)\\textasciicircum\{\}(\d+)", re.ASCII)

#: What a spreadsheet takes for the beginning of a formula, in either width.
_FORMULA = re.compile("[=+\\-@\t\r＝＋－＠]")
#: Where one begins within a cell, for a spreadsheet that divides at semicolons, as it does where decimals have commas.
_LATER = re.compile(";(?=[=+\\-@＝＋－＠])")
#: Numbers, and labels of the paper such as "+1 GC" and "+all GC": no formula is made of words.
_HARMLESS = re.compile(r"[+-]?(\d|all )[\w ,.%]*")


def flatten_lines(text: str) -> str:
    """Put a text on one line, without control characters."""
    return escape_controls(_LINES.sub(" ", text))


def escape_md(text: str) -> str:
    """Escape text for a cell or a paragraph of Markdown; `code` stays code.

    >>> print(escape_md("[a](http://b) `x[0]` 1 | 2"))
    \\[a\\](http://b) `x[0]` 1 \\| 2
    """
    flat = flatten_lines(text).lstrip(" ")  # before it, four are code, and fewer hide the sign of a heading
    if numbered := _NUMBERED.match(flat):
        return rf"{numbered[1]}\{flat[numbered.end()]}{_escape_inside(flat[numbered.end() + 1 :])}"
    return _escape_inside(flat)


def _escape_inside(flat: str) -> str:
    if "``" in flat or flat.count("`") % 2:  # which of them are code is not what it seems
        return _MARKDOWN.sub(r"\\\g<0>", flat)
    parts = _CODE.split(flat)
    parts[::2] = (_MARKDOWN.sub(r"\\\g<0>", part) for part in parts[::2])
    parts[1::2] = (f"`{code}`".replace("|", r"\|") for code in parts[1::2])
    return "".join(parts)


def code_md(text: str) -> str:
    """Write text as code in Markdown; as text where a backtick in it would end the code."""
    return escape_md(text if "`" in text else f"`{text}`")


def escape_tex(text: str) -> str:
    """Escape text for LaTeX; `code` becomes typewriter, a power of numbers mathematics."""
    escaped = "".join(_TEX.get(character, character) for character in flatten_lines(text))
    escaped = _POWER.sub(r"$\1^{\2}$", escaped)
    return re.sub(r"`([^`]*)`", r"\\texttt{\1}", escaped)


def escape_csv(value: object) -> object:
    """Escape what a cell of a CSV file holds: text that a spreadsheet would compute begins with an apostrophe.

    >>> escape_csv("=1+1"), escape_csv("a;=1+1"), escape_csv("+1 GC"), escape_csv("-0.5"), escape_csv(-0.5)
    ("'=1+1", "a;'=1+1", '+1 GC', '-0.5', -0.5)
    """
    if not isinstance(value, str):
        return value
    flat = _LATER.sub(";'", flatten_lines(value))
    return f"'{flat}" if _FORMULA.match(value) and not _HARMLESS.fullmatch(value) else flat


def write_rows(fields: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Write a CSV file: a header and a line for each row, whose texts no spreadsheet computes."""
    output = io.StringIO()
    writer = csv.DictWriter(output, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({field: escape_csv(value) for field, value in row.items()} for row in rows)
    return output.getvalue()
