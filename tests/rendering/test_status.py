"""`repro status`: coverage at a glance, and what would come next."""

from __future__ import annotations

import json

import pytest
from samples import published, record

from repro import cli, paper
from repro.experiments import EXPERIMENTS
from repro.records import Store

TABLE = paper.load(2)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "records")


@pytest.fixture
def status(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["repro", "status", *arguments, "--results", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        assert not exit_.value.code
        return capsys.readouterr().out

    return run


def test_of_nothing(status, tmp_path):
    found = json.loads(status("--json"))
    assert [(one["table"], one["cells"], one["verdicts"]) for one in found["coverage"]] == [
        (number, cells, {"not run": cells}) for number, cells in paper.CELLS.items()
    ]
    assert [(one["task"], one["full"], one["mini"]) for one in found["holdings"]] == [
        ("COCO", 0, 0), ("ImageNet", 0, 0), ("Kinetics-400", 0, 0),
    ]  # fmt: skip
    commands = [step["command"] for step in found["next"]]
    for command in (
        "repro complexity --table 2",
        "repro reproduce --table 2 --profile mini",
        "repro reproduce --table 2 --profile full --data-root DIR",
        "repro submit coco-x101-cascade-baseline --data-root DIR",
    ):
        assert f"{command} --results {tmp_path}" in commands


def test_of_what_is_there(store, status, tmp_path):
    name = "coco-r50-1gc"
    metrics = published(TABLE, name)
    store.add(record(name, metrics))
    whole = record(name, metrics, seed=1)
    store.add(whole)
    part = record(name, metrics, seed=1, evaluated=4000, ids_sha256="c" * 64, predictions_sha256="3" * 64)
    store.add(part.model_copy(update={"weights": whole.weights}))
    store.add(record(name, metrics, profile="mini"))
    store.add(record("coco-r50-1nl", published(TABLE, "coco-r50-1nl"), spec_hash="0" * 64))
    off = record("coco-r50-gc-r8", {**published(TABLE, "coco-r50-gc-r8"), "ap_box": 30.0})
    store.add(off)
    found = json.loads(status("--json"))
    coco = found["holdings"][0]
    assert {key: coco[key] for key in ("full", "measured", "mini", "mini_measured", "stale", "unused")} == {
        "full": 4, "measured": 2, "mini": 1, "mini_measured": 1, "stale": 1, "unused": 1,
    }  # fmt: skip
    assert found["coverage"][1]["verdicts"] == {"compatible": 11, "off": 1, "not run": 212}
    assert found["next"][0]["command"] == f"repro explain '2/e/ratio 8/ap_box' --results {tmp_path}"
    out = status()
    number = sum(name.startswith("coco-") for name in EXPERIMENTS)
    line = next(line for line in out.splitlines() if line.startswith("COCO"))
    assert line == (
        f"COCO: of {number} experiments 2 measured at full size by 4 records, 1 in the mini profile by 1, 1 stale, "
        "1 replaced"
    )
    assert out.index("Table 1") < out.index("Table 5") < out.index("COCO") < out.index("next")


def test_a_record_that_is_not_what_it_says_comes_first(store, status, tmp_path):
    made = record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"), key="7" * 64)
    store.add(made)
    found = json.loads(status("--json"))
    assert found["next"][0]["command"] == f"repro verify --results {tmp_path}"
    assert found["wrong"] == [
        f"record {made.filename}: its key is not that of its predictions, evaluator and weights: it was edited"
    ]
