"""An archive for an artifact review: records, what is rendered from them, and what decides. Imports no torch.

A bundle is a function of its records and of this version's data files: one is checked by making it again.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from repro import __version__, paper
from repro.errors import ReproError
from repro.files.outputs import write_output
from repro.files.places import is_there, list_directory
from repro.files.regular_files import open_regular, read_regular
from repro.paths import CHECKPOINTS, PUBLISHED, TABLES
from repro.records import Store, open_results
from repro.rendering.escaping import write_rows
from repro.rendering.provenance import LOCK
from repro.rendering.tables import write_renderings
from repro.verification.effects import paired_effects
from repro.verification.effects.evidence import EVIDENCE, locate_evidence

MANIFEST = "MANIFEST.sha256"
#: The parts of a store that a bundle takes, by their place below --results and in the archive.
_STORED = ("records", "records/complexity", "records/seeds", "effects", EVIDENCE)
#: No file of a bundle is nearly as large, and no bundle has nearly as many files.
_LARGEST, _ALL, _MANY = 64 << 20, 512 << 20, 100_000

_README = """\
GCNet, reproduced: what was measured, for a review
==================================================

Written by gcnet-repro {version}.

  records/            every measurement, one JSON file each; records/complexity/ has the counts, records/seeds/ how many
                      seeds were declared before they were run
  effects/            paired tests between rows, where they were computed
  evidence/           which detections match, or which items are right: what paired tests are computed from
  tables/             the paper's five tables beside ours: Markdown, LaTeX, CSV
  report.html         everything as one page; it needs no network
  inputs/             what decides: published numbers, tolerances, ledger, claims, checkpoints, the lock file
  environment.json    versions, devices and commits of the records
  left-out.csv        sha256 of the weights and predictions that are not here
  {manifest}     sha256 of every other file

To check that the files are whole:            sha256sum -c {manifest}
To check that the tables and the report are renderings of these records, with the same version of the package:
                                              repro bundle --verify BUNDLE.zip
To repeat the paired tests from the evidence, without predictions and data (delete effects/ before):
                                              repro effects --results .
To render a table again from the unpacked files:
                                              repro table 2 --results .
"""


def write(results: Path, path: Path) -> int:
    """Write the bundle of what lies in `results` to `path`; returns its number of files. Same records, same bytes.

    Raises:
        ReproError: there is no record, one is damaged (it is named), or `path` cannot be written.
    """
    store = open_results(results)
    if not store.all() and not store.counts():  # reading names what is damaged, by its own path
        raise ReproError(f"{store.directory} has no records: nothing to bundle. Check --results.")
    paired_effects.load(results)
    files = {}
    evidence = [file for file in (locate_evidence(results, record) for record in store.all()) if is_there(file)]
    for part in _STORED:
        listed = list_directory(results / part)
        stored = (file for file in listed if file.suffix == ".json" and not file.name.startswith("."))
        for file in sorted(evidence) if part == EVIDENCE else stored:
            files[f"{part}/{file.name}"] = read_regular(file, _LARGEST)
    content = _build_content(files)
    output = io.BytesIO()
    # Stored, not deflated: the bytes of a compressed file depend on the version of zlib.
    with zipfile.ZipFile(output, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data)
    write_output(path, output.getvalue())
    return len(content)


def verify(path: Path) -> list[str]:
    """Check a bundle: a line for each file with which something is wrong; none if all follows from its records.

    Raises:
        ReproError: it is no archive, a name in it leads out of it, an entry is larger than any of a bundle, or a record
            in it is damaged.
    """
    inside = _read_archive(path)
    wrong = _compare_with_manifest(inside)
    stored = {name: data for name, data in inside.items() if str(PurePosixPath(name).parent) in _STORED}
    try:
        made = _build_content(stored)
        wrong += _find_evidence_of_nothing(stored)
    except ReproError as error:
        raise ReproError(f"in {path}: {error}") from None
    for name in sorted(made.keys() | inside.keys()):
        if name == MANIFEST or name in stored:
            continue
        if name not in inside:
            wrong.append(f"{name}: missing")
        elif name not in made:
            wrong.append(f"{name}: no part of a bundle")
        elif inside[name] != made[name]:
            what = "not this version's" if name.startswith("inputs/") else "not what its records give with this version"
            wrong.append(f"{name}: {what}")
    return list(dict.fromkeys(wrong))


def _find_evidence_of_nothing(stored: Mapping[str, bytes]) -> list[str]:
    """Find evidence that belongs to no record of the bundle."""
    own = {name: data for name, data in stored.items() if PurePosixPath(name).parent == PurePosixPath("records")}
    with _unpack(own) as results:
        known = {f"{EVIDENCE}/{locate_evidence(results, r).name}" for r in Store(results / "records").all()}
    names = sorted(name for name in stored if name.startswith(f"{EVIDENCE}/") and name not in known)
    return [f"{name}: evidence of no record in the bundle" for name in names]


def _build_content(stored: Mapping[str, bytes]) -> dict[str, bytes]:
    """Build every file of the bundle of these records, by name."""
    from repro.rendering import report

    content = dict(stored)
    with _unpack(stored) as results:
        store = Store(results / "records")
        for table in paper.load_all():
            for file in write_renderings(table, store, results / "tables"):
                content[f"tables/{file.name}"] = read_regular(file, _LARGEST)
        content["report.html"] = report.render(results, with_curves=False).encode()
        content["environment.json"] = _list_environments(store)
        content["left-out.csv"] = _list_left_out(store)
    inputs = [file for place in (PUBLISHED, TABLES) for file in list_directory(place) if file.suffix == ".yaml"]
    for file in (*inputs, CHECKPOINTS, LOCK):
        if is_there(file):
            folder = "inputs/published" if file.parent == PUBLISHED else "inputs"
            content[f"{folder}/{file.name}"] = read_regular(file, _LARGEST)
    content["README.txt"] = _README.format(version=__version__, manifest=MANIFEST).encode()
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items())]
    content[MANIFEST] = "".join(lines).encode()
    return content


@contextmanager
def _unpack(stored: Mapping[str, bytes]) -> Iterator[Path]:
    """Write files by their names into a directory that exists meanwhile. An error names them as the bundle does.

    Raises:
        ReproError: there can be no file of a name.
    """
    with tempfile.TemporaryDirectory() as directory:
        for name, data in stored.items():
            path = Path(directory) / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            except OSError as error:
                raise ReproError(f"{name!r} cannot be unpacked: {error.strerror}") from None
        try:
            yield Path(directory)
        except ReproError as error:
            raise ReproError(str(error).replace(f"{directory}/", "")) from None


def _list_environments(store: Store) -> bytes:
    """List each distinct environment with the records that were measured in it."""
    by_content: dict[str, dict] = {}
    for record in store.all():
        key = json.dumps(record.environment, sort_keys=True)
        entry = by_content.setdefault(key, {"environment": record.environment, "records": []})
        entry["records"].append(record.filename)
    whole = {"package": f"gcnet-repro {__version__}", "measured": list(by_content.values())}
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


def _list_left_out(store: Store) -> bytes:
    fields = ("record", "weights_sha256", "predictions_sha256")
    rows = ((record.filename, record.weights.sha256, record.predictions_sha256) for record in store.all())
    return write_rows(fields, (dict(zip(fields, row, strict=True)) for row in rows)).encode()


def _read_archive(path: Path) -> dict[str, bytes]:
    """Read the entries of an archive that somebody else may have made."""
    content: dict[str, bytes] = {}
    total = 0
    try:
        with open_regular(path, 2 * _ALL, "bundle") as whole, zipfile.ZipFile(whole) as archive:
            entries = archive.infolist()
            if len(entries) > _MANY:
                raise ReproError(f"{path}: {len(entries)} entries; a bundle has at most {_MANY}")
            for entry in entries:
                _check_entry(path, entry, content)
                with archive.open(entry) as file:
                    data = file.read(_LARGEST + 1)  # a header can lie about the size
                total += len(data)
                if len(data) > _LARGEST or total > _ALL:
                    raise ReproError(f"{path}: {entry.filename!r} is larger than any file of a bundle: refused")
                content[entry.filename] = data
    except OSError as error:
        raise ReproError(f"{path} cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise ReproError(f"{path} is not a whole, plain zip archive: {error}") from None
    return content


def _check_entry(path: Path, entry: zipfile.ZipInfo, content: Mapping[str, bytes]) -> None:
    name = entry.filename
    parts = name.split("/")
    outside = any(part in ("", ".", "..") for part in parts) or "\\" in name or ":" in name or not name.isprintable()
    if outside or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):  # 0: it does not say
        raise ReproError(f"{path}: entry {name!r} is no plain file inside the bundle: refused")
    if name in content:
        raise ReproError(f"{path}: entry {name!r} stands twice: refused")


def _compare_with_manifest(inside: Mapping[str, bytes]) -> list[str]:
    """Find files that are not as the manifest says."""
    if MANIFEST not in inside:
        return [f"{MANIFEST}: missing"]
    wrong, said = [], {}
    for line in inside[MANIFEST].decode(errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        said[name] = digest
    for name in sorted(said.keys() | inside.keys() - {MANIFEST}):
        if name not in inside:
            wrong.append(f"{name}: in the manifest, not in the bundle")
        elif name not in said:
            wrong.append(f"{name}: not in the manifest")
        elif hashlib.sha256(inside[name]).hexdigest() != said[name]:
            wrong.append(f"{name}: not the file of the manifest")
    return wrong
