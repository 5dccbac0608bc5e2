"""What this version cannot know is listed as foreign wherever a store is read: no finding, no number, no failure."""

from __future__ import annotations

import json
from zipfile import ZipFile

import pytest
from forging import forge
from samples import count, record

from repro import cli
from repro.errors import ReproError
from repro.experiments import get
from repro.records import DeclaredSeeds, Store, read
from repro.rendering import bundle, report
from repro.rendering.status import build_status
from repro.verification.differences import diff
from repro.verification.integrity import admit

GC = "coco-r50-1gc"


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def store(results):
    """With one record that is what it says, compatible with the print."""
    store = Store(results / "records")
    store.add(record(GC, {"ap_box": 38.1}))
    return store


def add_unknown_experiment(store):
    made = record("coco-r50-baseline", {"ap_box": 37.2}).model_copy(update={"experiment": "coco-r50-2gc"})
    return store.add(made), "this version has no experiment coco-r50-2gc"


def add_unknown_reading(store):
    made = record("coco-r50-baseline", {"ap_box": 37.2})
    readings = {"colour-of-the-moon": "blue"}
    return store.add(made.model_copy(update={"readings": readings})), "has no reading colour-of-the-moon=blue"


def add_later_schema(store):
    path = store.add(record("coco-r50-baseline", {"ap_box": 37.2}))
    forge(path, lambda d: d.update(schema_version=2, dataset={"other": "form"}))
    return path, "of version 2 of its form; this version of the package reads version 1"


def add_earlier_schema(store):
    path = store.add(record("coco-r50-baseline", {"ap_box": 37.2}))
    path.write_text(json.dumps({"schema_version": 0, "name": "coco-r50-baseline", "ap": 37.2}))
    return path, "of version 0 of its form"


def add_later_field(store):
    path = store.add(record("coco-r50-baseline", {"ap_box": 37.2}))
    forge(path, lambda d: d["dataset"].update(licence="CC BY 4.0"))
    return path, "of a later version: this one knows no field 'dataset.licence'"


KINDS = [add_unknown_experiment, add_unknown_reading, add_later_schema, add_earlier_schema, add_later_field]


@pytest.fixture(params=KINDS, ids=lambda add: add.__name__)
def foreign(request, store):
    path, reason = request.param(store)
    return path.name, reason


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["repro", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err


def test_it_is_no_finding_and_takes_part_in_nothing(store, foreign):
    admitted = admit(store)
    assert [(one.file, foreign[1] in one.reason) for one in admitted.foreign] == [(foreign[0], True)]
    assert admitted.problems == ()
    assert [one.experiment for one in admitted.records] == [GC]
    assert list(admitted.files) == [admitted.records[0].filename]


def test_verify_lists_it_and_passes(monkeypatch, capsys, results, foreign):
    code, out, _ = run(monkeypatch, capsys, "verify", "--table", 2, "--results", results)
    assert code == 0
    assert f"foreign: record {foreign[0]}: " in out
    assert foreign[1] in out
    code, out, _ = run(monkeypatch, capsys, "verify", "--table", 2, "--results", results, "--json")
    found = json.loads(out)
    assert [one["record"] for one in found["foreign"]] == [foreign[0]]
    (table,) = found["tables"]
    verdict = next(c["verdict"] for c in table["cells"] if (c["row"], c["column"]) == ("+1 GC", "ap_box"))
    assert (code, verdict, found["wrong"]) == (0, "compatible", [])


def test_every_other_reader_names_it_too(monkeypatch, capsys, results, store, foreign, tmp_path):
    assert [foreign[1] in text for text in build_status(store).foreign] == [True]
    assert f"foreign: record {foreign[0]}" in run(monkeypatch, capsys, "status", "--results", results)[1]
    assert f"left out, foreign: record {foreign[0]}" in run(monkeypatch, capsys, "claims", "--results", results)[2]
    assert f"Foreign, and of no number here: record {foreign[0]}" in report.render(results)
    bundle.write(results, tmp_path / "b.zip")
    assert f"records/{foreign[0]}" in ZipFile(tmp_path / "b.zip").namelist()
    assert bundle.verify(tmp_path / "b.zip") == []


def test_two_stores_are_compared_without_it(store, results, tmp_path):
    path, reason = add_later_schema(store)
    other = Store(tmp_path / "other" / "records")
    other.add(record(GC, {"ap_box": 38.1}))
    comparison = diff(str(results), str(tmp_path / "other"), results)
    assert comparison.same == 1
    assert [reason in one for one in comparison.foreign_a] == [True]
    assert comparison.foreign_b == ()
    with pytest.raises(ReproError, match=rf"{path.name} is of version 2 of its form"):
        read(path)


def test_a_declaration_of_another_version_is_named(store):
    path = store.declare_seeds(
        DeclaredSeeds(experiment=GC, profile="full", engine="torchvision", seeds=3, declared="2026-01-01T00:00:00")
    )
    forge(path, lambda d: d.update(schema_version=3))
    (foreign,) = admit(store).foreign
    assert foreign.file == f"seeds/{path.name}"
    assert "of version 3 of its form" in foreign.reason


def test_a_count_of_another_version_is_named(store, results, monkeypatch, capsys):
    """It was left out without a word, and its cells asked for the count that was there. A damaged one is an error."""
    path = store.add_count(count(GC, 1, 1.0))
    forge(path, lambda d: d.update(schema_version=3))
    (foreign,) = admit(store).foreign
    assert foreign.file == f"complexity/{path.name}"
    assert "of version 3 of its form" in foreign.reason
    code, out, _ = run(monkeypatch, capsys, "verify", "--table", 2, "--results", results)
    assert code == 0
    assert f"foreign: record complexity/{path.name}: of version 3" in out
    store.add_count(count(GC, 1, 1.0))
    path.write_bytes(path.read_bytes().replace(b'"params": 1', b'"params": 2'))
    code, _, error = run(monkeypatch, capsys, "verify", "--table", 2, "--results", results)
    assert code == 2
    assert path.name in error


def test_a_field_that_nobody_sealed_is_an_edit(store):
    path = store.add(record("coco-r50-baseline", {"ap_box": 37.2}))
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 0,\n "colour": "red"'))
    with pytest.raises(ReproError, match="colour: Extra inputs are not permitted"):
        store.all()


def test_files_of_the_system_are_no_records(store):
    name = record(GC, {"ap_box": 38.1}).filename
    (store.directory / f"._{name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert len(store.all()) == 1


def test_a_foreign_record_hides_nothing_of_the_others(store):
    """A copy under another name does not make the genuine one a copy, nor does it fill a gap among seeds."""
    genuine = store.all()[0]
    store.add(genuine.model_copy(update={"experiment": "coco-r50-2gc"}))
    assert admit(store).problems == ()
    store.add(record(GC, {"ap_box": 38.1}, seed=2))
    middle = record(GC, {"ap_box": 38.1}, seed=1).model_copy(update={"spec_hash": get(GC).spec_hash[::-1]})
    store.add(middle.model_copy(update={"experiment": "coco-r50-2gc"}))
    assert any("seed 1 is missing" in problem.text for problem in admit(store).problems)
