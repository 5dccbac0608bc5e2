"""Bundles: the same bytes twice, checked file by file, and archives of strangers refused."""

from __future__ import annotations

import hashlib
import zipfile

import pytest
from samples import published, record

from repro import cli, paper
from repro.errors import ReproError
from repro.records import Store
from repro.rendering import bundle


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    results = tmp_path_factory.mktemp("bundle")
    store = Store(results / "records")
    store.add(record("coco-r50-baseline", published(paper.load(2), "coco-r50-baseline")))
    return results


@pytest.fixture(scope="module")
def packed(results, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "bundle.zip"
    bundle.write(results, path)
    return path


def changed(packed, path, changes, resealed):
    """A copy with other content under some names; `resealed` writes a manifest that fits."""
    with zipfile.ZipFile(packed) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | changes
    if resealed:
        del content[bundle.MANIFEST]
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items())]
        content[bundle.MANIFEST] = "".join(lines).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_the_same_records_give_the_same_bytes_and_pass(results, packed, tmp_path):
    bundle.write(results, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()
    assert bundle.verify(packed) == []


def test_the_manifest_is_of_every_other_file(packed):
    with zipfile.ZipFile(packed) as archive:
        said = dict(line.split("  ")[::-1] for line in archive.read(bundle.MANIFEST).decode().splitlines())
        names = set(archive.namelist())
        assert said == {n: hashlib.sha256(archive.read(n)).hexdigest() for n in names - {bundle.MANIFEST}}
    assert {"report.html", "tables/table5.csv", "inputs/tolerances.yaml", "inputs/published/table1.yaml"} <= names


@pytest.mark.parametrize("name", ["tables/table2.md", "inputs/tolerances.yaml", "report.html"])
@pytest.mark.parametrize("resealed", [False, True])
def test_a_changed_file_is_named_even_with_a_manifest_that_fits(packed, tmp_path, name, resealed):
    wrong = bundle.verify(changed(packed, tmp_path / "b.zip", {name: b"other"}, resealed))
    assert wrong
    assert all(line.startswith(f"{name}: ") for line in wrong)


def test_evidence_of_no_record_is_named(packed, tmp_path):
    wrong = bundle.verify(changed(packed, tmp_path / "b.zip", {"evidence/other.npz": b"PK"}, True))
    assert wrong == ["evidence/other.npz: evidence of no record in the bundle"]


@pytest.mark.parametrize("name", ["../evil", "/evil", "records/../../evil", "a\\b", "C:evil", "folder/"])
def test_entries_that_lead_out_are_refused(packed, tmp_path, name):
    with pytest.raises(ReproError, match="refused"):
        bundle.verify(changed(packed, tmp_path / "b.zip", {name: b""}, True))


def test_oversized_entries_and_other_files_are_refused(monkeypatch, packed, tmp_path):
    monkeypatch.setattr(bundle, "_LARGEST", 1000)
    with pytest.raises(ReproError, match="larger than any file of a bundle"):
        bundle.verify(packed)
    (tmp_path / "no.zip").write_bytes(packed.read_bytes()[:1000])
    with pytest.raises(ReproError, match="not a whole, plain zip archive"):
        bundle.verify(tmp_path / "no.zip")


def test_a_damaged_record_is_named_and_nothing_is_written(results, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    (records / "broken.json").write_text("{")
    with pytest.raises(ReproError, match=r"broken\.json"):
        bundle.write(tmp_path, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_the_command_exits_with_1_and_names_what_differs(monkeypatch, packed, tmp_path, capsys):
    path = changed(packed, tmp_path / "b.zip", {"README.txt": b"other"}, False)
    monkeypatch.setattr("sys.argv", ["repro", "bundle", "--verify", str(path)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code == 1
    assert "README.txt: not the file of the manifest" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"records/complexity": b"", "records/complexity/x.json": b"{}"}, "'records/complexity"),
        ({f"records/{'x' * 300}.json": b"{}"}, "cannot be unpacked: File name too long"),
        ({"records/x.json": b"{}"}, r"record records/x\.json is not a valid record"),
        ({"records/x.json": b"[" * 10**5}, r"record records/x\.json is damaged"),
        ({"effects/x.json": b"{}"}, r"effect effects/x\.json is not a valid effect"),
    ],
)
def test_names_and_contents_that_no_bundle_has_are_told_of_the_bundle(packed, tmp_path, changes, message):
    """Not of the directory that it was unpacked into, which nobody gave."""
    path = tmp_path / "b.zip"
    with pytest.raises(ReproError, match=message) as refused:
        bundle.verify(changed(packed, path, changes, True))
    assert str(refused.value).startswith(f"in {path}: ")
    assert str(refused.value).count("/tmp/") == str(path).count("/tmp/")
