"""What `torch.save` writes, read from bytes in memory: since torch 1.6 a zip, before that a sequence of pickles.

There is one reading of each part: the pickle is interpreted as data (`pickles`), and tensors are made of the very
bytes whose sizes it was compared with. Where a container could be read in two ways it is refused.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from repro.checkpoints.pickle_standins import ITEMSIZES, Refused, StorageStandin
from repro.checkpoints.pickles import interpret, require_end

#: How a zip begins.
ZIP = b"PK\x03\x04"
#: How torch.save began before 1.6: with this number.
LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
#: The value in a file, and the bytes of each storage that its tensors mention, by key.
Parsed = tuple[Any, dict[str, memoryview]]

_NEWEST = 10  # version of torch's format that torch 2.15 reads
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")  #: of the archive: its mark, disks, entries here and in all, the directory, comment
_END_MARK, _ZIP64_MARK, _ZIP64 = b"PK\x05\x06", b"PK\x06\x07", 20  #: the last: bytes of what stands before in Zip64
_SIZES_FOLLOW = 8  # flag of a local header: the sizes stand behind the entry, and in the directory
_ENCRYPTED = 1
_DIRECTORY = 0x10  # attribute of MS-DOS
_UTF8 = 0x800


def parse_zip(content: bytes) -> Parsed:
    """Parse a zip of torch.save: entries stored plainly, one behind the other, each tensor's bytes all there.

    Raises:
        Refused: it is not as torch.save writes it, or is damaged.
        zipfile.BadZipFile, ValueError, LookupError, ...: it is damaged.
    """
    entries = _locate_entries(content)
    tops = {name.split("/")[0] for name in entries}
    top = next(iter(tops), "")
    if len(tops) != 1:
        raise Refused("it is a zip archive with several folders or none, not a torch file")
    if f"{top}/data.pkl" not in entries:
        raise Refused("it is a zip archive without a data.pkl, not a torch file")
    if bytes(entries.get(f"{top}/byteorder", b"little")) != b"little":
        raise Refused("its numbers are in big-endian order of bytes, which is not read")
    version = bytes(entries.get(f"{top}/version", b"")).strip()
    if not re.fullmatch(rb"[1-9][0-9]?", version) or int(version) > _NEWEST:
        raise Refused(f"its format has the version {version[:20]!r}; 1 to {_NEWEST} are known")
    program = BytesIO(bytes(entries[f"{top}/data.pkl"]))
    value, storages = interpret(program, len(content), tensors=True)
    require_end(program)
    views = {}
    for storage in storages.values():
        views[storage.key] = entries.get(f"{top}/data/{storage.key}", memoryview(b""))
        if len(views[storage.key]) != storage.nbytes:
            raise _describe_short(storage, len(views[storage.key]))
    return value, views


def parse_legacy(content: bytes) -> Parsed:
    """Parse a file of torch before 1.6: number, version, system, value, storage keys, storages.

    Raises:
        Refused: parts are missing, or are not as torch.save writes them.
        ValueError, LookupError, ...: it is damaged.
    """
    stream, size = BytesIO(content), len(content)
    interpret(stream, size, tensors=False)
    if interpret(stream, size, tensors=False)[0] != 1001:
        raise Refused("it is of an unknown version of torch's format")
    system = interpret(stream, size, tensors=False)[0]
    if isinstance(system, dict) and system.get("little_endian", True) is not True:
        raise Refused("its numbers are in big-endian order of bytes, which is not read")
    value, storages = interpret(stream, size, tensors=True)
    keys, _ = interpret(stream, size, tensors=False)
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise Refused("the storages that it lists are not those that its tensors use")
    return value, _locate_storages(content, stream, keys, storages)


def _locate_storages(
    content: bytes, stream: BytesIO, keys: list[str], storages: Mapping[str, StorageStandin]
) -> dict[str, memoryview]:
    """Each storage behind the pickles: its number of elements in eight bytes, then these."""
    views = {}
    for key in keys:
        storage, (numel,) = storages[key], struct.unpack("<q", stream.read(8))
        begin = stream.tell()
        if numel != storage.numel or numel < 0:
            raise Refused(
                f"its tensors claim {storage.nbytes} bytes in storage {key!r:.40}, which has {numel} numbers of "
                f"{ITEMSIZES[storage.dtype]} bytes by its own count"
            )
        if (held := len(content) - begin) < storage.nbytes:
            raise _describe_short(storage, held)
        views[key] = memoryview(content)[begin : stream.seek(storage.nbytes, 1)]
    require_end(stream)
    return views


def _locate_entries(content: bytes) -> dict[str, memoryview]:
    """The bytes of each entry of a zip, by name, if every reader of zips finds the same."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        listed, directory = sorted(archive.infolist(), key=lambda entry: entry.header_offset), archive.start_dir
        if archive.comment:
            raise Refused("it is a zip archive with a comment, which torch.save does not write")
    if any(re.search(r"(^|/)(constants\.pkl$|code/)", entry.filename) for entry in listed):
        raise Refused("it is a TorchScript archive, which holds code; a state dict is needed")
    if len({entry.filename.casefold() for entry in listed}) != len(listed):
        raise Refused("it is a zip archive with two entries of one name (upper and lower case are not told apart)")
    entries, end = {}, 0
    for entry in listed:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            raise Refused("it is a compressed or encrypted zip archive, which torch.save does not write")
        if entry.is_dir() or entry.external_attr & _DIRECTORY:
            raise Refused(f"its entry {entry.filename!r:.60} is a folder, which torch.save does not write")
        begin = _find_data(content, entry, end)
        end = begin + entry.file_size
        if entry.file_size != entry.compress_size or end > directory:
            raise Refused(f"its entry {entry.filename!r:.60} claims to be larger than the file")
        entries[entry.filename] = memoryview(content)[begin:end]
        if zlib.crc32(entries[entry.filename]) != entry.CRC:
            raise Refused(f"the checksum of its entry {entry.filename!r:.60} is wrong: it is damaged")
    _check_end(content, len(listed), directory)
    return entries


def _check_end(content: bytes, entries: int, directory: int) -> None:
    """Check that the archive's last record ends the file, and says of its directory what was found."""
    mark, disk, first_disk, here, in_all, _, begin, comment = _END.unpack(content[-_END.size :])
    large = content[-_END.size - _ZIP64 :].startswith(_ZIP64_MARK)  # then a number may be left to another record
    counts, begins = (
        {number, most} if large else {number} for number, most in ((entries, (1 << 16) - 1), (directory, (1 << 32) - 1))
    )
    if mark != _END_MARK or disk or first_disk or comment or here != in_all:
        raise Refused("bytes follow the end of the zip archive, or it has several parts")
    if in_all not in counts or begin not in begins:
        raise Refused("the end of the zip archive says of its directory what is not so")


def _find_data(content: bytes, entry: zipfile.ZipInfo, earliest: int) -> int:
    """Where the bytes of an entry begin, if what precedes them says the same as the archive's directory."""
    at = entry.header_offset
    mark, _, flags, method, _, _, crc, packed, size, name_length, extra = _LOCAL_HEADER.unpack_from(content, at)
    if at < earliest or (at and not earliest):
        raise Refused(f"its entry {entry.filename!r:.60} lies over another one, or bytes stand before the first")
    name_begin = at + _LOCAL_HEADER.size
    name = content[name_begin : name_begin + name_length]
    expected = entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437")
    sizes_agree = flags & _SIZES_FOLLOW or (crc, packed, size) == (entry.CRC, entry.compress_size, entry.file_size)
    if mark != ZIP or name != expected or entry.filename != entry.orig_filename or method != 0 or not sizes_agree:
        raise Refused(f"its entry {entry.filename!r:.60} is described in two ways")
    return name_begin + name_length + extra


def _describe_short(storage: StorageStandin, held: int) -> Refused:
    return Refused(
        f"its tensors claim {storage.nbytes} bytes in storage {storage.key!r:.40}, where the file has {held}"
    )
