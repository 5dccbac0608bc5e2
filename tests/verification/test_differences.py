"""`repro diff`: what changed between records or stores, and whether it explains the numbers."""

from __future__ import annotations

import json

import pytest
from samples import PARAMS, count, published, record

from repro import cli, paper
from repro.records import Store
from repro.verification.differences import compare

TABLE = paper.load(2)
BASELINE = published(TABLE, "coco-r50-baseline")


def made(*, gap=0.0, predictions="1" * 64, weights="d" * 64, **changes):
    metrics = {**BASELINE, "ap_box": BASELINE["ap_box"] + gap}
    made = record("coco-r50-baseline", metrics, predictions_sha256=predictions, **changes)
    training = made.training.model_copy(update={"key": f"{made.seed}" * 64})
    return made.model_copy(
        update={"weights": made.weights.model_copy(update={"sha256": weights}), "training": training}
    )


def test_seeds_of_the_mini_profile_differ_in_the_seed_alone_although_each_begins_from_weights_of_its_own():
    first, second = (
        record("coco-r50-1gc", {"ap_box": 70.0 + seed, "ap_mask": 60.0}, profile="mini", seed=seed) for seed in range(2)
    )
    assert first.weights.initial_sha256 != second.weights.initial_sha256
    found = compare("first", first, "second", second)
    assert found.conclusion.startswith("the seed alone changed: runs of the mini profile scatter widely")


A = made()
OTHER = {"gap": 0.2, "predictions": "2" * 64}
TRAINED = {**OTHER, "weights": "8" * 64}


def nested(record, part, **update):
    return record.model_copy(update={part: getattr(record, part).model_copy(update=update)})


def environment(record, **update):
    return record.model_copy(update={"environment": {**record.environment, **update}})


@pytest.mark.parametrize(
    ("b", "explained", "conclusion"),
    [
        (A, None, "the two are the same"),
        (made(created="2026-02-02T00:00:00+00:00"), None, "every metric that both have is the same, from the same"),
        (made(predictions="2" * 64), None, "the same, although the predictions are not the same"),
        # The same predictions: one number, whatever else changed.
        (made(gap=0.2), False, "the same predictions, evaluator and annotations must give the same numbers"),
        (made(gap=0.2, seed=1), False, "the same predictions, evaluator and annotations must give the same numbers"),
        (made(gap=0.2, evaluator="pycocotools 2.0"), True, "with other things: what changed is the evaluator"),
        (made(gap=0.2, annotations_sha256="9" * 64), True, "what changed is the annotations"),
        # What makes it another measurement.
        (made(**TRAINED, spec_hash="0" * 64), True, "another measurement: what changed is the network or the recipe"),
        (made(**TRAINED, ids_sha256="9" * 64), True, "what changed is the evaluated items"),
        (
            nested(made(**TRAINED), "training", iterations=50, effective_batch=8),
            True,
            "what changed is the length of the training and the batch",
        ),
        (
            nested(nested(made(**TRAINED), "weights", initial_sha256="5" * 64), "training", key="6" * 64),
            True,
            "what changed is the initial weights",
        ),
        # Another version of the experiment, of whose key no part that changed is recorded.
        (
            environment(nested(made(**TRAINED), "training", key="6" * 64), cpu="another"),
            True,
            "another measurement: what changed is what the key of its training is made from",
        ),
        # Of one training key, what was trained before is of one recipe, too: that its weights are others is a
        # consequence, not a cause.
        (
            environment(nested(made(**TRAINED), "weights", initial_sha256="5" * 64), cpu="another"),
            True,
            "what can move a number is the CPU",
        ),
        (made(**TRAINED, numerics={"precision": "bf16-mixed"}), True, "what changed is the precision"),
        # What can move a number a little.
        (made(**OTHER, numerics={"precision": "32-true", "tf32": True}), True, "a number a little, is numerics"),
        (environment(made(**OTHER), device="H100"), True, "the same weights; what changed in their evaluation"),
        (made(**OTHER), False, "the same weights, data and numerics gave other predictions"),
        (made(**TRAINED, seed=1), True, "the seed alone changed, and no metric moved farther than seeds commonly do"),
        (
            made(**{**TRAINED, "gap": 1.2}, seed=1),
            False,
            "the seed alone changed, and ap_box moved farther than seeds commonly do",
        ),
        (
            environment(made(**TRAINED, seed=1), torch="3.0"),
            True,
            "the seed, and versions of libraries changed, and no metric moved farther",
        ),
        (environment(made(**TRAINED), torch="3.0"), True, "what can move a number is versions of libraries"),
        (nested(made(**TRAINED), "training", world_size=8), True, "what can move a number is the number of processes"),
        (made(**TRAINED), False, "the training is not deterministic, or something is not recorded"),
        # Others altogether.
        (record("coco-r50-1gc", published(TABLE, "coco-r50-1gc")), True, "they are of different experiments"),
        (record("coco-r50-baseline", {"ap_box": 9.0}, profile="mini"), True, "they are of different profiles"),
    ],
)  # fmt: skip
def test_whether_what_changed_explains_the_numbers(b, explained, conclusion):
    found = compare("a", A, "b", b)
    assert conclusion in found.conclusion
    assert found.explained is explained


def test_two_records_without_a_common_metric():
    b = record("coco-r50-baseline", {"top1": 9.0}, predictions_sha256="2" * 64, alone=True)
    assert compare("a", A, "b", b).conclusion == "they have no metric in common"


def test_changes_are_sorted_into_what_they_are_of():
    b = environment(nested(made(**TRAINED, seed=1), "dataset", evaluated=4999), torch="3.0")
    found = compare("a", A, "b", b)
    assert {(change.group, change.field) for change in found.changes} == {
        ("identity", "seed"),
        ("identity", "command"),
        ("identity", "key"),
        ("evaluation", "predictions_sha256"),
        ("weights", "weights.sha256"),
        ("training", "training.key"),
        ("data", "dataset.evaluated"),
        ("environment", "environment.torch"),
    }
    assert {delta.metric: round(delta.delta, 9) for delta in found.deltas if delta.delta} == {"ap_box": 0.2}


@pytest.fixture
def diff(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["repro", "diff", *map(str, arguments), "--results", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


def test_records_are_named_by_file_by_name_and_by_its_beginning(diff, tmp_path):
    store = Store(tmp_path / "records")
    one, other = made(), made(**TRAINED, seed=1)
    path, _ = store.add(one), store.add(other)
    for a in (path, one.filename, "coco-r50-baseline.full.trained.seed0"):
        code, out, _ = diff(a, other.filename)
        assert code == 0
        assert "  ap_box     37.200 -> 37.400  (+0.200 %)" in out
        assert "  seed: 0 -> 1" in out
        assert out.splitlines()[-1].startswith("explained: the seed alone changed")
    found = json.loads(diff(one.filename, other.filename, "--json")[1])
    assert found["explained"] is True
    assert next(d for d in found["deltas"] if d["metric"] == "ap_box")["delta"] == pytest.approx(0.2)


def test_names_that_fit_no_record_or_several(diff, tmp_path):
    store = Store(tmp_path / "records")
    store.add(made())
    store.add(made(**TRAINED, seed=1))
    code, _, err = diff("coco-r50-baseline", "coco-r50-baseline.full.trained.seed1")
    assert (code, err.startswith("error: 2 records begin with 'coco-r50-baseline'")) == (2, True)
    code, _, err = diff("coco-r50-baselime.full.trained.seed1", "x")
    assert (code, "did you mean coco-r50-baseline.full.trained.seed" in err) == (2, True)
    code, _, err = diff(tmp_path, "coco-r50-baseline.full.trained.seed1")
    assert (code, "one is a directory and the other a record" in err) == (2, True)


def test_two_stores(diff, tmp_path):
    one, other = Store(tmp_path / "one" / "records"), Store(tmp_path / "other")
    both = record("coco-r50-1nl", published(TABLE, "coco-r50-1nl"))
    for store in (one, other):
        store.add(both)
    one.add(made())
    other.add(made(gap=0.2))
    only = record("coco-r50-1gc", published(TABLE, "coco-r50-1gc"))
    other.add(only)
    one.add_count(count("coco-r50-1snl", PARAMS["coco-r50-1snl"], 279.4))
    other.add_count(count("coco-r50-1snl", PARAMS["coco-r50-1snl"] + 1, 279.4))
    code, out, _ = diff(tmp_path / "one", tmp_path / "other")
    lines = out.splitlines()
    assert code == 0
    names = [f"a: {tmp_path / 'one'}", f"b: {tmp_path / 'other'}"]
    assert lines[:4] == [*names, "only in b: 1", f"  {only.filename}"]
    assert "count coco-r50-1snl.params: 45451318 -> 45451319" in lines
    assert "1 the same, 1 changed, 1 of them not explained" in lines
    assert any(line.startswith("not explained: the same predictions") for line in lines)
    assert "of 2 records in both, 1 have the same weights, predictions and metrics, bit for bit" in lines
    found = json.loads(diff(tmp_path / "one", tmp_path / "other", "--json")[1])
    assert (found["same"], len(found["changed"]), found["only_a"], found["only_b"]) == (1, 1, [], [only.filename])


def of_seeds(directory, seeds, **update):
    """Records of a mini experiment, as a machine would write them: each with weights, key and values of its own."""
    store = Store(directory)
    for seed in seeds:
        metrics = {"ap_box": 40.0 + seed, "ap_mask": 30.0}
        store.add(record("coco-r50-1gc", metrics, seed=seed, profile="mini", **update))
    return store


CPU = {"commit": "f" * 40, "dirty": False, "cpu": "Xeon 8000", "instructions": "AVX2", "limited_to": "AVX2"}


def test_a_repetition_is_the_same_whenever_and_wherever_it_was_measured(diff, tmp_path):
    theirs = of_seeds(tmp_path / "b", range(3))
    ours = Store(tmp_path / "a")
    for made_there in theirs.all():
        cost = made_there.cost.model_copy(update={"train_seconds": 999.0})
        update = {"created": "2027-01-01T00:00:00+00:00", "command": "repro reproduce", "cost": cost}
        ours.add(environment(made_there.model_copy(update=update), cpu="EPYC 9000", commit="e" * 40))
    _, out, _ = diff(ours.directory, theirs.directory)
    assert out.splitlines() == [
        f"a: {ours.directory}",
        f"b: {theirs.directory}",
        "of 3 records in both, 3 have the same weights, predictions and metrics, bit for bit",
        "3 the same, 0 changed, 0 of them not explained",
    ]


def test_the_exit_code_says_whether_everything_repeats(diff, tmp_path):
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    ours.directory.mkdir()

    def compare():
        assert diff(ours.directory, theirs.directory)[0] == 0
        return diff(ours.directory, theirs.directory, "--exit-code")[0]

    one = record("coco-r50-1gc", {"ap_box": 38.0})
    theirs.add(one)
    assert compare() == 1  # nothing is in both
    ours.add(one)
    theirs.add(record("coco-r50-1gc", {"ap_box": 38.0}, seed=1))
    assert compare() == 0
    for store, params in ((ours, 44_534_006), (theirs, 44_534_007)):
        store.add_count(count("coco-r50-1gc", params, 279.4))
    assert compare() == 1
    theirs.add_count(count("coco-r50-1gc", 44_534_006, 279.4))
    assert compare() == 0
    ours.add(record("coco-r50-1gc", {"ap_box": 38.1}, seed=1))
    assert compare() == 1
    same, other = (ours.all()[0].filename, next(r.filename for r in ours.all() if r.seed == 1))
    assert diff(ours.directory / same, theirs.directory / same, "--exit-code")[0] == 0
    assert diff(ours.directory / same, ours.directory / other, "--exit-code")[0] == 1


def test_a_directory_that_is_not_there_is_named(diff, tmp_path):
    code, _, err = diff(tmp_path / "results")
    assert code == 2
    assert f"there is no directory {tmp_path / 'results'}" in err


def test_many_files_of_one_store_alone_are_counted(diff, tmp_path):
    ours, theirs = Store(tmp_path / "ours"), Store(tmp_path / "theirs")
    for store, seeds in ((ours, 1), (theirs, 9)):
        for seed in range(seeds):
            store.add(record("coco-r50-1gc", {"ap_box": 38.0}, seed=seed))
    lines = diff(ours.directory, theirs.directory)[1].splitlines()
    assert lines[2] == "only in b: 8"
    assert lines[8] == "  and 3 more; --json names them all"


def test_the_cpu_is_named_where_it_gives_other_bits(diff, tmp_path):
    theirs = of_seeds(tmp_path / "b", range(3), environment=CPU)
    ours = Store(tmp_path / "a")
    for made_there in theirs.all():
        update = {"predictions_sha256": "1" * 64, "key": f"{made_there.seed}" * 64}
        moved = nested(made_there.model_copy(update=update), "weights", sha256="2" * 64, initial_sha256="3" * 64)
        ours.add(environment(moved, cpu="EPYC 9000", torch="3.0"))
    _, out, _ = diff(ours.directory, theirs.directory)
    assert out.splitlines()[-3:] == [
        "of 3 records in both, 0 have the same weights, predictions and metrics, bit for bit",
        "not the same, 3: what differs is the CPU (EPYC 9000 in a, Xeon 8000 in b) and versions of libraries (torch "
        "3.0 in a, not recorded in b)",
        "0 the same, 3 changed, 0 of them not explained",
    ]
    assert "the initial weights" not in out
    found = json.loads(diff(ours.directory, theirs.directory, "--json")[1])
    assert (found["alike"], found["same"]) == (0, 0)
    assert [cause["name"] for cause in found["changed"][0]["causes"]] == ["the CPU", "versions of libraries"]


# -- predictions that are hashed in two ways --------------------------------------------------------------------------


def packed(record, file):
    """As this version has it: hashes of the content and of the file."""
    hashes = {"predictions_sha256": "7" * 64, "predictions_file_sha256": file * 64, "key": "8" * 64}
    return record.model_copy(update=hashes)


@pytest.mark.parametrize("file", ["1", "9"])
def test_an_earlier_record_of_the_same_numbers_is_alike(file):
    """The file is the earlier one's, or what another version of Python packs."""
    found = compare("a", A, "b", packed(A, file))
    assert found.alike
    assert (found.changes, found.conclusion) == ((), "the two are the same")


def test_an_earlier_record_of_the_same_file_must_have_the_same_numbers():
    found = compare("a", A, "b", packed(made(gap=0.2), "1"))
    assert not found.alike
    assert "must give the same numbers" in found.conclusion


def test_an_earlier_record_of_other_numbers_is_of_other_predictions():
    found = compare("a", A, "b", packed(made(gap=0.2), "9"))
    assert "predictions_sha256" in {change.field for change in found.changes}
    assert "gave other predictions" in found.conclusion


def test_how_the_same_predictions_are_packed_is_no_difference():
    one, other = packed(A, "1"), packed(A, "9")
    assert compare("a", one, "b", other).changes == ()
    changed = other.model_copy(update={"predictions_sha256": "6" * 64})
    assert [change.field for change in compare("a", one, "b", changed).changes] == ["predictions_sha256"]
