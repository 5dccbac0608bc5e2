"""The form of what is stored: no text that commands a terminal, no endless number, no name that leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from forging import forge
from pydantic import BaseModel, ValidationError
from samples import count, record

from repro.errors import ReproError
from repro.records import Count, DeclaredSeeds, Record, Store
from repro.records.submission import Submission
from repro.verification.effects.paired_effects import StoredEffect


@pytest.fixture
def path(tmp_path):
    return Store(tmp_path / "records").add(record("coco-r50-baseline", {"ap_box": 37.2}))


def refuse(path, words):
    with pytest.raises(ReproError) as refused:
        Store(path.parent).all()
    assert str(path) in str(refused.value)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("character", ["\x1b", "\n", "\x00", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066"])
@pytest.mark.parametrize("field", ["command", "evaluator", "created"])
def test_a_control_character_in_a_text(path, field, character):
    forge(path, lambda d: d.update({field: f"a{character}b"}))
    refuse(path, f"{field}: it has the control character {character!a}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["deviations"].append("\x1b[2J"), "deviations.0: it has the control character '\\x1b'"),
        (lambda d: d["environment"].update(device="a\rb"), "environment.device"),
        (lambda d: d["environment"].update({"a\nb": "c"}), "environment"),
        (lambda d: d["numerics"].update(precision="\x1b"), "numerics.precision"),
        (lambda d: d["weights"].update(origin="\x85"), "weights.origin: "),
        (lambda d: d["dataset"].update(failed=["1.jpg", "\u202egpj.1"]), "dataset.failed.1: "),
        (lambda d: d["metrics"][0].update(name="ap\nbox"), "metrics.0.name: "),
        (lambda d: d["metrics"][0].update(unit="%\n"), "metrics.0.unit: "),
    ],
)
def test_a_control_character_anywhere(path, change, words):
    forge(path, change)
    refuse(path, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(command="x" * 10**6), "command: String should have at most 65536 characters"),
        (lambda d: d.update(command="x" * (10 << 20)), "such a file has at most"),
        (lambda d: d.update(seed=10**400), "seed: "),
        (lambda d: d.update(seed=2**63), "seed: "),
        (lambda d: d["cost"].update(peak_memory_bytes=10**400), "cost.peak_memory_bytes: "),
        (lambda d: d["numerics"].update(threads=-(10**400)), "numerics.threads"),
        (lambda d: d["metrics"][0].update(value=10**400), "metrics.0.value: "),
        (lambda d: d["metrics"][0].update(value=float("nan")), "metrics.0.value: "),
        (lambda d: d["cost"].update(train_seconds=float("inf")), "cost.train_seconds: "),
        (lambda d: d.update(tolerances={"retrained": {"ap_box": float("-inf")}}), "tolerances.retrained.ap_box: "),
        (lambda d: d.update(experiment="../" * 20 + "etc/x"), "experiment: "),
        (lambda d: d.update(experiment="x" * 300), "experiment: "),
        (lambda d: d.update(engine="a/b"), "engine: "),
        (lambda d: d.update(key="A" * 64), "key: "),
    ],
)
def test_sizes_numbers_and_names_that_none_of_ours_has(path, change, words):
    forge(path, change)
    refuse(path, words)


def test_a_key_that_is_there_twice_is_refused_though_both_say_the_same(path):
    text = path.read_text().replace('"profile": "full",', '"profile": "full",\n "profile": "full",')
    path.write_text(text)
    refuse(path, "is not a valid record: the key 'profile' is there twice")


def test_a_key_that_is_there_twice_within(path):
    path.write_text(path.read_text().replace('"unit": "%",', '"unit": "%",\n   "unit": "%",'))
    refuse(path, "the key 'unit' is there twice")


def test_an_integer_of_5000_digits_in_a_file(path):
    path.write_text(path.read_text().replace('"seed": 0', f'"seed": {"9" * 5000}'))
    refuse(path, "is damaged (not whole JSON: number out of range")


def test_a_measurement_whose_files_have_strange_names_does_not_fail_at_its_end(tmp_path):
    """The names come back in print; none commands a terminal."""
    made = record(
        "coco-r50-baseline",
        {"ap_box": 37.2},
        command="repro run 'a\x1b[2J\n\udcff'",
        deviations=["weights of \u202egnp.exe, d\u00e9j\u00e0 vu \U0001f469\u200d\U0001f52c"],
        failed=["a\tb.jpg"],
        environment={"device": "x" * 10**5},
    )
    store = Store(tmp_path / "records")
    store.add(made)
    (read,) = store.all()
    assert read == made
    assert read.command == r"repro run 'a\x1b[2J\n\udcff'"
    assert read.deviations == ["weights of \\u202egnp.exe, d\u00e9j\u00e0 vu \U0001f469\u200d\U0001f52c"]
    assert read.dataset.failed == [r"a\tb.jpg"]
    assert str(read.environment["device"]).endswith("xxx... (100000 characters)")


def test_a_count_is_held_to_the_same_form(tmp_path):
    store = Store(tmp_path / "records")
    path = store.add_count(count("coco-r50-baseline", 44_400_693, 279.4))
    forge(path, lambda d: d.update(counter="fvcore\x1b[2J"))
    with pytest.raises(ReproError, match=r"counter: it has the control character"):
        store.counts()
    forge(path, lambda d: d.update(counter="fvcore", params=10**400))
    with pytest.raises(ReproError, match=r"params: "):
        store.counts()


def list_unbounded(schema: dict, where: str) -> Iterator[str]:
    """Every place of a JSON schema that takes any text, whole number or key."""
    if schema.get("type") == "string" and not schema.keys() & {"maxLength", "pattern", "const", "enum"}:
        yield where
    if schema.get("type") == "integer" and not schema.keys() & {"exclusiveMaximum", "maximum", "const", "enum"}:
        yield where
    if isinstance(schema.get("additionalProperties"), dict) and "propertyNames" not in schema:
        yield f"{where} (keys)"
    for key, value in schema.items():
        for number, part in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(part, dict):
                yield from list_unbounded(part, f"{where}.{key}.{number}")


@pytest.mark.parametrize("model", [Record, Count, DeclaredSeeds, Submission, StoredEffect])
def test_no_field_takes_any_text_or_number(model: type[BaseModel]):
    assert list(list_unbounded(model.model_json_schema(), model.__name__)) == []


def test_weights_that_the_source_contradicts_cannot_be_recorded():
    made = record("coco-r50-baseline", {"ap_box": 37.2})
    with pytest.raises(ValidationError, match=r"weights\.checkpoint belongs to source checkpoint"):
        Record.model_validate({**made.model_dump(), "source": "checkpoint"})
