"""The files in a zip archive, which is not unpacked: COCO's training images are 118,287 files in one of 19 GB."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np

from repro.errors import ReproError
from repro.files.regular_files import describe_unreadable, open_regular

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER, _LOCAL_MARK = 30, b"PK\3\4"  # APPNOTE.TXT 6.3.10, 4.3.7
_ENCRYPTED, _UTF8 = 1, 1 << 11  #: flags of a file (4.4.4)


class ZipArchive:
    """Files by their number, the index of their name in `names`. It can be sent to another process.

    Raises:
        ReproError: it cannot be read, is no zip archive, is cut short, or holds a name twice or what is encrypted or
            packed in another way than by deflation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open_regular(path) as file, zipfile.ZipFile(file) as archive:
                members = sorted(
                    (member for member in archive.infolist() if not member.is_dir()), key=attrgetter("filename")
                )
        except ReproError:
            raise
        except Exception as error:  # what zipfile raises depends on where the damage is
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ReproError(
                f"{path} is no zip archive, or damaged or cut short: {reason}. Download it again."
            ) from None
        for member, following in pairwise(members):
            if member.filename == following.filename:
                raise ReproError(f"{path}: {member.filename} is in it twice")
        for member in members:
            if not all(
                0 <= value < 1 << 63 for value in (member.header_offset, member.compress_size, member.file_size)
            ):
                raise ReproError(f"{path} is damaged: {member.filename} would lie outside of it. Download it again.")
            if member.flag_bits & _ENCRYPTED or member.compress_type not in _METHODS:
                raise ReproError(f"{path}: {member.filename} is encrypted, or packed in a way that is not read")
        self.names = [member.filename for member in members]
        self._stored_names = [_encode_name(member) for member in members]
        #: Where each begins, its bytes as packed and unpacked, its checksum, and how it is packed.
        self._members = np.array(
            [(m.header_offset, m.compress_size, m.file_size, m.CRC, m.compress_type) for m in members], dtype=np.int64
        ).reshape(-1, 5)

    def read(self, index: int, limit: int, what: str) -> bytes:
        """Read a file's content.

        Args:
            limit: bytes that such a file has at most.
            what: what the file is, for messages.

        Raises:
            ReproError: it cannot be read, is damaged, or has more than `limit` bytes.
        """
        begin, packed, size, checksum, method = (int(value) for value in self._members[index])
        place = f"{what} {self.describe_place(index)} cannot be read"
        if max(size, packed) > limit:
            raise ReproError(f"{place}: it has {size} bytes, and such a file has at most {limit}")
        with open_regular(self.path, what=what) as file:
            try:
                there = begin + _LOCAL_HEADER + packed <= os.fstat(file.fileno()).st_size
                header = os.pread(file.fileno(), _LOCAL_HEADER, begin) if there else b""
                if len(header) < _LOCAL_HEADER or not header.startswith(_LOCAL_MARK):
                    raise ReproError(f"{place}: the archive is damaged at byte {begin}. Download it again.")
                length, extra = struct.unpack_from("<HH", header, 26)
                again = os.pread(file.fileno(), length, begin + _LOCAL_HEADER)
                content = os.pread(file.fileno(), packed, begin + _LOCAL_HEADER + length + extra)
            except (OSError, MemoryError) as error:
                raise describe_unreadable(self.path, error, what) from None
        if again != self._stored_names[index]:
            raise ReproError(f"{place}: at byte {begin} it has another name. Download the archive again.")
        if method == zipfile.ZIP_DEFLATED:
            try:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
            except zlib.error as error:
                raise ReproError(f"{place}: {error}. Download the archive again.") from None
        if len(content) != size or zlib.crc32(content) != checksum:
            raise ReproError(f"{place}: its length or its checksum is wrong. Download the archive again.")
        return content

    def describe_place(self, index: int) -> str:
        """Describe the place of a file in words, for messages."""
        return f"{self.names[index]} in {self.path}"


def _encode_name(member: zipfile.ZipInfo) -> bytes:
    """The name as it stands in the archive: UTF-8, or else in the first PCs' encoding."""
    return member.orig_filename.encode("utf-8" if member.flag_bits & _UTF8 else "cp437")
