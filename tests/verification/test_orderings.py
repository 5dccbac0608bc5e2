"""Effects against a group's baseline, and every order of two rows in the mini profile."""

import itertools

import pytest
from samples import published, record
from scipy import stats

from repro import paper
from repro.paper.hypotheses import load_hypotheses
from repro.paper.tolerances import load as load_tolerances
from repro.verification import judgement, measurements, orderings

TABLE = paper.load(2)
RULES = load_hypotheses()
BASELINE = published(TABLE, "coco-r50-baseline")


def verify_records(records=(), table=TABLE):
    return judgement.verify(table, list(records), {}, load_tolerances())


def shifted(**deltas):
    return {**BASELINE, **{name: BASELINE[name] + delta for name, delta in deltas.items()}}


def test_effects_are_differences_from_the_groups_baseline():
    made = [record("coco-r50-baseline", BASELINE, seed=s) for s in (0, 1)]
    made += [record("coco-r50-1nl", shifted(ap_box=0.5 + 0.2 * s), seed=s) for s in (1, 2)]
    found = {
        (e.row.group.name, e.row.row.label, e.column): e
        for e in orderings.effects_over_baseline(verify_records(made).rows)
    }
    assert len(found) == 22 * 6
    effect = found["a", "+1 NL", "ap_box"]
    assert (effect.published, effect.n, effect.ours) == (0.8, 1, pytest.approx(0.7))  # seed 1 alone has both
    assert (found["a", "+all GC", "ap_mask"].published, found["a", "+all GC", "ap_mask"].ours) == (1.9, None)
    r101 = {
        e.row.row.label: e
        for e in orderings.effects_over_baseline(verify_records(table=paper.load(3)).rows)
        if e.column == "ap_box"
    }
    assert r101["R101 +GC r4"].published == 1.9


@pytest.mark.parametrize("order", [1, -1])
def test_effects_of_each_way_stand_apart(order):
    made = [record("coco-r50-baseline", BASELINE), record("coco-r50-1nl", shifted(ap_box=0.5))]
    made += [record("coco-r50-baseline", BASELINE, engine="detectron2"),
             record("coco-r50-1nl", shifted(ap_box=-0.2), engine="detectron2")]  # fmt: skip
    found = {
        e.way: e.ours
        for e in orderings.effects_over_baseline(verify_records(made[::order]).rows)
        if (e.row.row.label, e.column) == ("+1 NL", "ap_box")
    }
    assert found == {
        "trained here, torchvision": pytest.approx(0.5),
        "trained here, detectron2": pytest.approx(-0.2),
    }


def test_effects_of_a_part_of_the_images_are_not_shown():
    made = [record(name, published(TABLE, name), evaluated=80) for name in ("coco-r50-baseline", "coco-r50-1nl")]
    assert {effect.n for effect in orderings.effects_over_baseline(verify_records(made).rows)} == {0}


def measure(runs):
    """Measurements with one value of `ap_box` per seed, from 0 on."""
    return {
        name: measurements.Measurement(
            name,
            tuple(
                record(name, {"ap_box": v, "ap_mask": v}, seed=s, profile="mini", spec_hash="0" * 64)
                for s, v in enumerate(values)
            ),
        )
        for name, values in runs.items()
    }


def explore(runs, table=TABLE):
    found = orderings.explore_orderings(table, measure(runs), RULES)
    return {(o.group.name, o.better.label, o.worse.label): o for o in found}


def test_an_order_is_tested_by_ranks_and_adjusted_for_all_pairs():
    runs = {
        "coco-r50-baseline": [30.0, 34.0, 32.0, 31.0],
        "coco-r50-1nl": [35.1, 36.0, 37.0, 34.5],
        "coco-r50-1snl": [29.0, 28.0, 27.0, 26.0],
        "coco-r50-1gc": [33.0, 33.1, 32.1, 29.5],
    }
    found = explore(runs)
    above = found["a", "+1 NL", "baseline"]
    assert (above.n, above.published, above.ours) == (4, 0.8, pytest.approx(35.65 - 31.75))
    for (_, better, worse), ordering in found.items():
        names = {row.label: row.experiment for row in TABLE.groups[0].rows}
        pair = (runs[names[better]], runs[names[worse]])
        assert ordering.p == pytest.approx(stats.mannwhitneyu(*pair, method="exact").pvalue)
    expected = stats.false_discovery_control([o.p for o in found.values()])
    assert [o.adjusted for o in found.values()] == pytest.approx(expected.tolist())


def test_with_fewer_than_three_seeds_there_is_no_list():
    two = {"coco-r50-baseline": [20.0, 21.0], "coco-r50-1nl": [40.0, 41.0]}
    assert explore(two) == {}
    assert len(explore({name: [*values, 30.0] for name, values in two.items()})) == 1


def test_a_pair_of_experiments_stands_once_and_one_metric_counts():
    """Every two of Table 2's 18 networks whose printed box AP differ in a group that has both."""
    found = orderings.explore_orderings(
        TABLE, measure({name: [1.0 + i, 2.0 + i, 3.0 + i] for i, name in enumerate(TABLE.experiments)}), RULES
    )
    pairs = {
        frozenset((a.experiment, b.experiment))
        for group in TABLE.groups
        for a, b in itertools.combinations(group.rows, 2)
        if a.cell("ap_box").value != b.cell("ap_box").value
    }
    assert len(found) == len(pairs) == 44
    assert {frozenset(o.question) for o in found} == pairs
    assert {o.column for o in found} == {"ap_box"}


@pytest.mark.parametrize(
    ("better", "worse", "compared"),
    [
        ("r101-gc-r16", "r50-gc-r16", True),  # from ResNet-101's and from ResNet-50's weights, as in the paper
        ("x101-cascade-baseline", "x101-baseline", False),  # both from ResNeXt-101's, which must be the same
    ],
)
def test_initial_weights_may_differ_only_where_the_papers_do(better, worse, compared):
    made = measure({f"coco-{better}": [30.0, 31.0, 32.0], f"coco-{worse}": [20.0, 21.0, 22.0]})
    for digit, (name, measurement) in enumerate(made.items()):
        records = tuple(
            r.model_copy(update={"weights": r.weights.model_copy(update={"initial_sha256": str(digit) * 64})})
            for r in measurement.records
        )
        made[name] = measurements.Measurement(name, records)
    found = orderings.explore_orderings(paper.load(3), made, RULES)
    assert [o.ours for o in found] == ([pytest.approx(10.0)] if compared else [])


def test_an_order_against_the_baseline_is_against_its_own():
    table = paper.load(3)
    runs = {name: [1.0 + i, 2.0 + i, 3.0 + i] for i, name in enumerate(table.experiments)}
    own = {key[1:] for key, o in explore(runs, table).items() if o.against_baseline and key[0] == "a"}
    networks = ("R50", "R101", "X101", "X101+Cascade", "X101+DCN+Cascade")
    assert own == {(f"{name} +GC {ratio}", f"{name} baseline") for name in networks for ratio in ("r16", "r4")}
