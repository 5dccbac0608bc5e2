"""Records: what may be stored, that storing is final, and that damage is named."""

from __future__ import annotations

import json
import math
import os

import pytest
from forging import forge
from pydantic import ValidationError
from samples import count, record

from repro.errors import ReproError
from repro.records import Record, Store, cache_key

METRICS = {"ap_box": 37.123456789012345, "ap_mask": 33.8}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "records")


def test_a_record_comes_back_in_full_precision(store):
    written = record("coco-r50-baseline", METRICS, seed=3)
    path = store.add(written)
    assert store.all() == [written]
    assert store.all()[0].metric("ap_box").value == 37.123456789012345
    assert path.name == f"coco-r50-baseline.full.trained.seed3.{written.key[:12]}.json"


def test_the_first_record_of_a_key_stands(store):
    first = record("coco-r50-baseline", METRICS)
    path = store.add(first)
    before = path.read_bytes()
    store.add(first.model_copy(update={"command": "another"}))
    assert path.read_bytes() == before


def test_an_empty_or_absent_directory_holds_nothing(store):
    assert store.all() == []
    assert store.counts() == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_no_number_cannot_be_recorded(value):
    with pytest.raises(ValidationError, match="finite"):
        record("coco-r50-baseline", {"ap_box": value})


def test_a_nan_put_into_a_file_is_refused_and_named(store):
    path = store.add(record("coco-r50-baseline", {"ap_box": 37.2}))
    path.write_text(path.read_text().replace("37.2", "NaN"))
    with pytest.raises(ReproError, match=rf"{path.name} is not a valid record: metrics\.0\.value: .*finite"):
        store.all()


def test_a_record_cut_in_half_is_named_and_left_alone(store):
    whole = store.add(record("coco-r50-baseline", METRICS))
    cut = store.add(record("coco-r50-1nl", METRICS))
    half = cut.read_bytes()[: cut.stat().st_size // 2]
    cut.write_bytes(half)
    with pytest.raises(ReproError, match=rf"{cut.name} is damaged \(not whole JSON"):
        store.all()
    assert cut.read_bytes() == half
    assert whole.exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda d: d.pop("seed"), "seed: Field required"),
        (lambda d: d.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda d: d.update(profile="medium"), "profile: "),
        (lambda d: d.pop("schema_version"), "schema_version: Field required"),
        (lambda d: d.update(schema_version="1"), "schema_version: "),
        (lambda d: d.update(schema_version=1.5), "schema_version: "),
        (lambda d: d.update(schema_version=True), "schema_version: "),
        (lambda d: d["dataset"].update(evaluated="all"), r"dataset\.evaluated: "),
    ],
)
def test_a_file_of_another_form_names_the_field(store, change, where):
    path = store.add(record("coco-r50-baseline", METRICS))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ReproError, match=where):
        store.all()


def test_bytes_that_are_no_text(store):
    path = store.add(record("coco-r50-baseline", METRICS))
    path.write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(ReproError, match=path.name):
        store.all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(store):
    path = store.add(record("coco-r50-baseline", METRICS))
    path.chmod(0)
    with pytest.raises(ReproError, match="cannot be read"):
        store.all()


def test_a_count_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "records" / "complexity" / "x.json").mkdir(parents=True)
    with pytest.raises(ReproError, match=r"x\.json cannot be read"):
        Store(tmp_path / "records").counts()


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "records").write_text("a file where the directory should be")
    with pytest.raises(ReproError, match="a part of the path is a file"):
        Store(tmp_path / "records").add(record("coco-r50-baseline", METRICS))


def test_counts_are_kept_beside_the_records_by_specification(store):
    first = count("coco-r50-baseline", 44_400_693, 279.4)
    store.add_count(first)
    store.add_count(count("coco-r50-1nl", 46_500_405, 288.7))
    assert store.counts()[first.spec_hash] == first
    assert len(store.counts()) == 2
    assert store.all() == []


def test_a_second_count_of_a_network_beside_the_first_is_named(store):
    path = store.add_count(count("coco-r50-baseline", 44_400_693, 279.4))
    edited = path.with_name(path.name.replace(".json", "-2.json"))
    edited.write_bytes(path.read_bytes())
    forge(edited, lambda d: d.update(params=44_400_694))
    with pytest.raises(ReproError, match=rf"count .*{edited.name} is not that of its name: it is {path.name}"):
        store.counts()


def test_a_cache_key_depends_on_every_part_and_not_on_their_order():
    key = cache_key(weights="a", data="b")
    assert key == cache_key(data="b", weights="a")
    assert key != cache_key(weights="a", data="c")
    assert len(key) == 64


def test_records_do_not_change(store):
    written = record("coco-r50-baseline", METRICS)
    with pytest.raises(ValidationError, match="frozen"):
        written.seed = 5
    assert Record.model_validate_json(written.model_dump_json()) == written


def test_the_largest_number_of_seeds_that_was_declared_stands_and_nothing_is_replaced(tmp_path):
    from repro.records import DeclaredSeeds

    store = Store(tmp_path / "records")
    assert store.read().declared == {}
    for seeds, at in ((3, "2026-01-01"), (5, "2026-01-02"), (1, "2026-01-03"), (3, "2026-01-04")):
        store.declare_seeds(
            DeclaredSeeds(experiment="x", profile="full", engine="torchvision", seeds=seeds, declared=at)
        )
    assert store.read().declared == {("x", "full", "torchvision", ()): 5}
    (path,) = (tmp_path / "records" / "seeds").glob("*.n3.json")
    assert "2026-01-01" in path.read_text()
    path.write_text(path.read_text().replace('"seeds": 3', '"seeds": 2'))
    with pytest.raises(ReproError, match="was changed after it was written"):
        store.read()
