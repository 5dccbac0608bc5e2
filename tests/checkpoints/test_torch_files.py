"""Files of torch.save that two readers could read in two ways are refused, and the bytes that were hashed are used."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable

import pytest
import torch
from weights_files import STATE, assert_state, detectron2, pickle_of, torch_legacy, torch_zip, with_pickle

from repro.checkpoints.weight_files import read
from repro.errors import ReproError

Rewrite = Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]


def rezipped(write: Rewrite, value: object = STATE) -> bytes:
    """The zip of torch.save for `value`, its entries written again by `write`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_zip(value))) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            write(new, entry, old.read(entry))
    return stream.getvalue()


def write_as_folder(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    """torch's reader takes such an entry for a folder, and gives memory that nobody wrote."""
    written = zipfile.ZipInfo(entry.filename)
    written.external_attr = 0x10 if "/data/" in entry.filename else 0
    archive.writestr(written, content)


def write_in_capitals_too(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    """torch's reader does not tell upper from lower case, and takes whichever it finds."""
    if entry.filename.endswith("data.pkl"):
        archive.writestr(entry.filename.replace("data.pkl", "DATA.PKL"), pickle_of(torch_zip({"w": torch.ones(1)})))
    archive.writestr(entry.filename, content)


def write_twice(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    archive.writestr(entry.filename, content)
    if "/data/" in entry.filename:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(entry.filename, content)


def write_in_big_endian(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    archive.writestr(entry.filename, b"big" if entry.filename.endswith("byteorder") else content)


def write_as_later_version(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    archive.writestr(entry.filename, b"11\n" if entry.filename.endswith("/version") else content)


def write_plainly(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    archive.writestr(entry.filename, content)


PLAIN = rezipped(write_plainly)


def with_local_header(offset: int, value: bytes) -> bytes:
    """Change the header that stands before the entry data/0, and leave the archive's directory as it is."""
    changed = bytearray(PLAIN)
    with zipfile.ZipFile(io.BytesIO(PLAIN)) as archive:
        at = archive.getinfo("archive/data/0").header_offset + offset
    changed[at : at + len(value)] = value
    return bytes(changed)


LEGACY = torch_legacy(STATE)
ONE = torch_legacy({"w": torch.ones(2)})
TWO_READINGS = {
    "a folder": (rezipped(write_as_folder), "is a folder"),
    "capitals": (rezipped(write_in_capitals_too), "two entries of one name"),
    "twice": (rezipped(write_twice), "two entries of one name"),
    "big-endian": (rezipped(write_in_big_endian), "big-endian"),
    "another local name": (with_local_header(30 + len("archive/data/"), b"9"), "described in two ways"),
    "another local size": (with_local_header(18, struct.pack("<I", 4)), "described in two ways"),
    "another local method": (with_local_header(8, struct.pack("<H", 8)), "described in two ways"),
    "data elsewhere": (with_local_header(28, struct.pack("<H", 60_000)), "larger than the file"),
    "a later version": (rezipped(write_as_later_version), "version b'11'; 1 to 10 are known"),
    "bytes before": (b"PK\x03\x04" + PLAIN, "bytes stand before"),
    "a comment": (PLAIN[:-2] + struct.pack("<H", 4) + b"more", "comment"),
    "a byte behind": (PLAIN + b"x", "bytes follow the end of the zip archive"),
    "a part of a comment": (PLAIN[:-2] + struct.pack("<H", 4), "bytes follow the end of the zip archive"),
    "another archive behind": (PLAIN + PLAIN, "bytes stand before"),
    "another count": (PLAIN[:-14] + struct.pack("<HH", 1, 1) + PLAIN[-10:], "says of its directory what is not so"),
    "a directory elsewhere": (
        torch_zip(STATE)[:-6] + struct.pack("<IH", 5, 0),
        "says of its directory what is not so",
    ),
    "a second part": (PLAIN[:-18] + struct.pack("<HH", 1, 0) + PLAIN[-14:], "several parts"),
    "two values in the pickle": (with_pickle(pickle_of(PLAIN) + b"}."), "2 bytes follow its end"),
    "legacy: two objects": (LEGACY + LEGACY, "bytes follow its end"),
    "legacy: big-endian": (LEGACY.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "big-endian"),
    "legacy: another version": (LEGACY.replace(b"\x80\x02M\xe9\x03", b"\x80\x02M\xea\x03", 1), "unknown version"),
    "legacy: a longer last storage": (
        ONE[:-16] + struct.pack("<q", 5) + ONE[-8:],
        "claim 8 bytes in storage .* 5 numbers",
    ),
    "a boolean of 2": (torch_legacy({"w": torch.ones(1, dtype=torch.bool)})[:-1] + b"\x02", "other bytes than 0 and 1"),
}


@pytest.mark.parametrize("kind", TWO_READINGS)
def test_what_could_be_read_in_two_ways_is_refused(tmp_path, kind):
    content, reason = TWO_READINGS[kind]
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ReproError, match=reason):
        read(tmp_path / "weights.pth")


def test_two_values_in_a_pickle_of_arrays_are_refused(tmp_path):
    (tmp_path / "model.pkl").write_bytes(detectron2() + detectron2())
    with pytest.raises(ReproError, match="bytes follow its end"):
        read(tmp_path / "model.pkl")


def write_as_torch_1_6(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, content: bytes) -> None:
    """Without the entry that says the order of bytes."""
    if entry.filename.rsplit("/")[-1] in ("data.pkl", "version", "0", "1", "2"):
        archive.writestr(entry.filename, content)


@pytest.mark.parametrize("write", [write_plainly, write_as_torch_1_6])
def test_an_archive_that_was_written_again_is_read(tmp_path, write):
    (tmp_path / "weights.pth").write_bytes(rezipped(write))
    assert_state(read(tmp_path / "weights.pth"))


def test_text_of_python_2_is_read_as_torch_reads_it(tmp_path):
    path = tmp_path / "weights.pth"
    value = {"w\u00e9": torch.ones(1)}
    key = "w\u00e9".encode()
    program = pickle_of(torch_zip(value)).replace(b"X" + struct.pack("<I", 3) + key, b"U\x03" + key)
    path.write_bytes(with_pickle(program, value))
    assert list(read(path).tensors) == list(torch.load(path, weights_only=True)) == ["w\u00e9"]


@pytest.mark.parametrize("name", ["\u6a21\u578b.pth", "\u00e9.pth", "a b.pth", "data.pkl"])
def test_an_archive_whose_folder_has_the_name_of_its_file(tmp_path, name):
    torch.save(STATE, tmp_path / name)
    assert_state(read(tmp_path / name))


def test_the_hash_is_of_the_bytes_that_are_used(tmp_path):
    path, content = tmp_path / "weights.pth", torch_zip(STATE)
    path.write_bytes(content)
    sha, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    for digest in (None, f"sha256:{sha}", f"sha256:{sha[:8]}", f"md5:{md5[:6]}"):
        contents = read(path, digest)
        assert (contents.sha256, contents.size) == (sha, len(content))
    path.write_bytes(torch_zip({"w": torch.ones(1)}))
    for digest in (f"sha256:{sha}", f"md5:{md5[:6]}", f"md5:{sha[:6]}"):
        with pytest.raises(ReproError, match=f"exchanged while they were in use.*recognised by {digest}"):
            read(path, digest)


CUT_WHILE_READ = """
import os, sys
from pathlib import Path
from repro.checkpoints import pickles, weight_files

interpret, runs = pickles._Interpreter.run, []
def cut_and_interpret(interpreter, stream):
    runs.append(1)
    os.truncate(sys.argv[1], 512)
    return interpret(interpreter, stream)

pickles._Interpreter.run = cut_and_interpret
print(float(weight_files.read(Path(sys.argv[1])).tensors["w"].sum()), bool(runs))
"""


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
def test_a_file_that_is_cut_while_it_is_interpreted_is_read_as_it_was(tmp_path, save):
    """Mapped into memory, the bytes that were gone ended the process with SIGBUS."""
    path = tmp_path / "weights.pth"
    path.write_bytes(save({"w": torch.ones(100_000)}))
    done = subprocess.run(
        [sys.executable, "-c", CUT_WHILE_READ, str(path)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "100000.0 True\n"), done.stderr
