"""Text files that somebody else may have made: read in whichever Unicode encoding they say that they have.

Editors and spreadsheets put a byte order mark first, write UTF-16, or compress a file without renaming it. What is
text is read; what is something else is named for what it is.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from repro.errors import ReproError
from repro.files.regular_files import read_regular

#: UTF-32's little-endian mark begins with UTF-16's, so it comes first.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}
#: Where the null bytes of a text without a mark are that begins with two characters of ASCII, as all of ours do.
_NULLS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_OTHERS = {
    rb"\x1f\x8b": "gzip data",
    rb"PK\x03\x04": "a zip archive",
    rb"BZh[1-9]1AY&SY": "bzip2 data",
    rb"\xfd7zXZ\0": "xz data",
    rb"\x28\xb5\x2f\xfd": "zstd data",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive",
}
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html)\b", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/"
_LINE_END = re.compile("\r\n|\n|\r")


def read_text(path: Path, limit: int, what: str = "") -> str:
    """Read a regular file of at most `limit` bytes as text, without its byte order mark, also a repeated one.

    Args:
        what: what the file is, for messages.

    Raises:
        ReproError: it cannot be read, is compressed or no text, or has a null character; says where.
    """
    return decode_text(read_regular(path, limit, what), str(path))


def decode_text(content: bytes, where: str) -> str:
    """Decode the bytes of a text file: UTF-8, or UTF-16 or UTF-32 with a byte order mark or the null bytes of one.

    Args:
        where: the file, for messages.

    Raises:
        ReproError: as `read_text`.
    """
    encoding, begin = _find_encoding(content, where)
    try:
        text = content[begin:].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[begin : begin + error.start].decode(encoding).count("\n") + 1
        raise ReproError(
            f"{where}, line {line}: byte {begin + error.start} ({content[begin + error.start]:#04x}) is not "
            f"{encoding.upper()}: {error.reason}. Save the file as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ReproError(f"{where}, line {line}: a null character: the file is damaged. Get it again.")
    return text


def convert_to_utf8(content: bytes, where: str) -> bytes:
    """Convert the bytes of a text file to UTF-8 without a mark, for a parser that takes such bytes.

    UTF-8 is given back as it is, unchecked: that is the parser's task.

    Raises:
        ReproError: it is compressed or no text; says what it is.
    """
    encoding, begin = _find_encoding(content, where)
    if encoding == "utf-8":
        return content[begin:] if begin else content
    return decode_text(content, where).encode()


def split_lines(text: str) -> list[str]:
    """Split a text into its lines, of any system, without their ends.

    Not as `str.splitlines`, which also splits at characters that may stand in a name, such as U+2028.
    """
    lines = _LINE_END.split(text)
    return lines[:-1] if not lines[-1] else lines


def _find_encoding(content: bytes, where: str) -> tuple[str, int]:
    """The encoding, and the number of bytes of the mark."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            repeated = 1
            while content.startswith(mark, repeated * len(mark)):
                repeated += 1
            return encoding, repeated * len(mark)
    for pattern, kind in _OTHERS.items():
        if re.match(pattern, content):
            raise ReproError(f"{where} is {kind}, not text: unpack it.")
    if _WEB_PAGE.match(content):
        raise ReproError(f"{where} is a web page, not what its name says: download it again, logged in if need be.")
    if content.startswith(_POINTER):
        raise ReproError(f"{where} is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`.")
    head = content[:4]
    nulls = tuple(byte == 0 for byte in head)
    if len(head) == 4 and all(nulls):
        raise ReproError(f"{where} begins with null bytes: it was not written to its end. Get it again.")
    return _NULLS.get(nulls, "utf-8"), 0
