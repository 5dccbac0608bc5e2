"""What the mini profile answers to the paper's statements, from records to words and to the command."""

import json

import numpy as np
import pytest
from samples import record
from scipy import stats
from typer.testing import CliRunner

from repro import cli, paper
from repro.cli.hypotheses import write_answers
from repro.paper.hypotheses import hash_hypotheses, load_hypotheses
from repro.records import Record, Store
from repro.rendering import report, tables
from repro.verification import hypotheses, power

TABLE = paper.load(2)
RULES = load_hypotheses()
FAMILY = RULES.of_table(2)
ADDITION = ("coco-r50-avg-add", "coco-r50-gc-r16")
SCALING = ("coco-r50-avg-scale", "coco-r50-att-scale")
ALIKE = ("coco-r50-1nl", "coco-r50-1snl", "coco-r50-1gc")


def scatter(place, seed):
    """What a run of the network at this place has beside its mean: a seed moves all of them, and each a little."""
    return 3.0 * seed + 0.01 * place + 0.02 * ((3 * seed + 5 * place + seed * place) % 7)


def make(values, seeds=range(3), **changes):
    """Records of every network of Table 2, `values` by name and 40 + a little for the others."""
    return [
        record(
            name, {"ap_box": values.get(name, 40.0) + scatter(place, s), "ap_mask": 30.0}, seed=s, profile="mini",
            **{"hypotheses": hash_hypotheses("coco"), **changes},
        )
        for place, name in enumerate(TABLE.experiments)
        for s in seeds
    ]  # fmt: skip


def answer_one_way(table, records):
    ((_, found),) = hypotheses.answer_table(table, records)
    return found


def answers(records):
    return {a.hypothesis.id: a for a in answer_one_way(TABLE, records)}


@pytest.mark.parametrize("order", [1, -1])
def test_each_way_of_measuring_answers_by_itself(order, tmp_path):
    """In one engine addition is above scaling, in the other below: neither engine is preferred, nor are they mixed."""
    made = make(dict.fromkeys(ADDITION, 70.0)) + make(dict.fromkeys(ADDITION, 10.0), engine="detectron2")
    found = dict(hypotheses.answer_table(TABLE, made[::order]))
    words = {way: {a.hypothesis.id: a.word for a in of}["addition-above-scaling"] for way, of in found.items()}
    assert words == {"trained here, torchvision": "holds", "trained here, detectron2": "contrary"}
    text = write_answers(TABLE, made)
    assert text.count("the paper's statements in the MINI profile") == 2
    assert "(tables/hypotheses.yaml), trained here, detectron2" in text
    store = Store(tmp_path / "records")
    for one in made:
        store.add(one)
    for form in ("md", "tex", "csv"):
        assert "detectron2" in tables.render(TABLE, store, form)
    assert "Rows of Table 2, trained here, detectron2" in report.render(tmp_path)


def test_a_large_effect_holds_and_its_reverse_is_contrary():
    found = answers(make(dict.fromkeys(ADDITION, 70.0)))["addition-above-scaling"]
    assert (found.word, found.seeds, round(found.effect)) == ("holds", (0, 1, 2), 30)
    assert found.p == pytest.approx(1 / 6**3)  # in each seed, two of four runs are the highest
    reverse = answers(make(dict.fromkeys(SCALING, 70.0)))["addition-above-scaling"]
    assert (reverse.word, reverse.p_contrary) == ("contrary", pytest.approx(1 / 6**3))
    assert reverse.adjusted_contrary == pytest.approx(10 / 6**3)


def test_runs_by_another_recipe_answer_nothing():
    departs = ["trained for 1 iteration instead of 3 epochs"]
    found = answers(make(dict.fromkeys(ADDITION, 70.0), departures=departs, deviations=departs))
    assert {(a.word, a.reason) for a in found.values()} == {("not run", f"of another recipe: {departs[0]}")}


def test_statements_are_adjusted_for_the_whole_family_also_for_those_that_were_not_run():
    few = [r for r in make(dict.fromkeys(ADDITION, 70.0)) if r.experiment in ADDITION + SCALING]
    found = answers(few)
    assert found["addition-above-scaling"].adjusted == pytest.approx(10 / 6**3)
    assert found["smaller-ratio-better"].word == "not run"
    assert "no mini-profile record of coco-r50-gc-r32" in found["smaller-ratio-better"].reason
    assert len(found) == len(FAMILY) == 10


def test_runs_are_exchanged_within_strata_and_seeds():
    """Of attention against average pooling, the p-value is of one run against one, twice in each seed."""
    values = {"coco-r50-att-scale": 41.0, "coco-r50-avg-add": 70.0, "coco-r50-gc-r16": 71.0}
    found = answers(make(values))["attention-above-average"]
    assert found.p == pytest.approx(1 / 2**6)  # all six pairs are in order
    assert found.effect == pytest.approx(1.0, abs=0.2)


def test_kinds_of_block_that_lie_within_the_margin_are_equivalent_and_others_contrary():
    found = answers(make({}))["one-block-kinds-on-par"]
    assert (found.word, found.shown) == ("equivalent", "equivalent within 4")
    # Of the pair that lies farthest apart, with the scatter of all three around network and seed.
    runs = np.array([[scatter(TABLE.experiments.index(name), s) for s in range(3)] for name in ALIKE])
    left = runs - runs.mean(1, keepdims=True) - runs.mean(0) + runs.mean()
    error = np.sqrt((left**2).sum() / 4 * 2 / 3)
    assert found.p == pytest.approx(stats.t.sf((4.0 - np.ptp(runs.mean(1))) / error, 4), rel=1e-6)
    apart = answers(make({"coco-r50-1gc": 60.0}, seeds=range(11)))["one-block-kinds-on-par"]
    assert (apart.word, apart.p_contrary) == ("contrary", pytest.approx(6 / 2**11))  # three pairs, two sides each
    assert answers(make({}, seeds=[0]))["one-block-kinds-on-par"].word == "undecided"


def test_an_order_of_networks_nearer_than_the_margin_is_equivalent_but_one_that_holds_still_holds():
    near = {name: 40.0 + 0.02 * (place % 2) for place, name in enumerate(TABLE.experiments)}
    found = answers(make(near))
    assert found["addition-above-scaling"].word == "equivalent"
    assert found["addition-above-scaling"].adjusted_close <= 0.05 < found["addition-above-scaling"].adjusted
    assert found["block-above-baseline"].word != "equivalent"  # it has no margin
    small = answers(make(near | dict.fromkeys(ADDITION, 42.0)))["addition-above-scaling"]
    assert (small.word, small.adjusted_close <= 0.05) == ("holds", True)
    far = answers(make(near | {"coco-r50-gc-r32": 50.0, "coco-r50-gc-r4": 40.3}))["smaller-ratio-better"]
    assert far.word in ("undecided", "contrary")


def test_the_third_family_is_adjusted_over_the_statements_of_order_that_have_a_margin():
    found = answers(make({}))
    asked = [a for a in found.values() if a.hypothesis.test == "order" and a.hypothesis.margin]
    largest = max(asked, key=lambda a: a.p_close)
    assert len(asked) == 7
    steps = [(7 - rank) * p for rank, p in enumerate(sorted(a.p_close for a in asked))]
    assert largest.adjusted_close == min(1.0, max(steps))
    assert all(a.adjusted_close == 1.0 for a in found.values() if a not in asked)


def test_seeds_that_one_experiment_alone_has_do_not_count():
    more = make({}) + [
        record("coco-r50-gc-r16", {"ap_box": 99.0, "ap_mask": 30.0}, seed=s, profile="mini") for s in range(3, 9)
    ]
    assert answers(more)["all-stages-above-one"].seeds == (0, 1, 2)


def test_what_was_measured_otherwise_is_not_compared():
    """With another precision it is of another way; from other weights, of none that the others are of."""
    records = [
        r.model_copy(update={"numerics": {"precision": "bf16-mixed"}}) if r.experiment == ADDITION[0] else r
        for r in make({})
    ]
    ways = dict(hypotheses.answer_table(TABLE, records))
    assert len(ways) == 2
    for of in ways.values():
        assert next(a.word for a in of if a.hypothesis.id == "addition-above-scaling") == "not run"
    records = [
        r.model_copy(update={"weights": r.weights.model_copy(update={"initial_sha256": "9" * 64})})
        if r.experiment == ADDITION[0]
        else r
        for r in make({})
    ]
    found = answers(records)["addition-above-scaling"]
    assert (found.word, "were not measured alike" in found.reason) == ("not run", True)


def begin(records, start):
    """The records as if each had begun from what `start` says of (experiment, seed)."""
    return [
        r.model_copy(
            update={"weights": r.weights.model_copy(update={"initial_sha256": start(r.experiment, r.seed) * 64})}
        )
        for r in records
    ]


def test_each_seed_begins_from_a_training_of_its_own_which_all_of_its_runs_share():
    values = make(dict.fromkeys(ADDITION, 70.0))
    ((_, found),) = hypotheses.answer_table(TABLE, begin(values, lambda _, seed: "abc"[seed]))
    assert {a.seeds for a in found} == {(0, 1, 2)}
    assert next(a.word for a in found if a.hypothesis.id == "addition-above-scaling") == "holds"
    mixed = begin(values, lambda name, seed: "d" if (name, seed) == (ADDITION[0], 1) else "abc"[seed])
    ((_, found),) = hypotheses.answer_table(TABLE, mixed)
    said = next(a for a in found if a.hypothesis.id == "addition-above-scaling")
    assert (said.word, "were not measured alike" in said.reason) == ("not run", True)


def test_one_seed_says_that_it_cannot_decide():
    found = answers(make(dict.fromkeys(ADDITION, 70.0), seeds=[0]))["addition-above-scaling"]
    assert (found.word, found.reason) == ("undecided", "1 seed cannot give a p-value below 0.17")


def test_two_seeds_of_networks_with_a_margin_are_not_said_to_decide_nothing():
    """Two runs against two cannot show an order (1 in 4), but that the networks are alike."""
    (asked,) = (h for h in RULES.of_table(4) if h.id == "imagenet-gc-above-se")
    assert hypotheses.find_least_p(asked, 2) == 0.0
    assert hypotheses.find_least_p(asked.model_copy(update={"margin": None}), 2) == pytest.approx(1 / 4)
    values = {"imagenet-r50-avg-scale": (80.0, 70.1), "imagenet-r50-gc-r16": (80.0, 70.12)}
    assert hypotheses.compute_p_values(asked, values)[2] < 0.01


def test_the_count_says_every_word():
    text = hypotheses.count_answers(answer_one_way(TABLE, make(dict.fromkeys(ADDITION, 70.0))))
    assert text.startswith("Of 10 statements of the paper, ")
    assert text.endswith(" undecided (n = 3 seeds).")


@pytest.mark.parametrize(
    ("hashed", "says"), [(hash_hypotheses("coco"), "were written down before"), (None, "not confirmed")]
)
def test_it_is_said_whether_the_statements_came_first(hashed, says):
    found = answer_one_way(TABLE, make({}, hypotheses=hashed))
    when, shares = hypotheses.describe_conditions(found)
    assert says in when
    assert "begin from one training" in shares


def test_a_record_without_statements_is_written_as_before_they_existed():
    without = record("coco-r50-1gc", {"ap_box": 40.0}, profile="mini")
    assert "hypotheses" not in without.model_dump(mode="json")
    assert Record.model_validate(without.model_dump()).hypotheses is None


# -- how many seeds ---------------------------------------------------------------------------------------------------


def test_power_is_near_that_of_the_same_test_written_anew():
    """Of one group against three in each seed: the sum of its ranks, which under the hypothesis are uniform."""
    uniform = [1.0]
    for _ in range(5):
        uniform = np.convolve(uniform, np.full(4, 1 / 4))
    tail = np.cumsum(uniform[::-1])[::-1]  # of a sum of ranks from 0 to 3 that is so large or larger
    generator = np.random.default_rng(3)
    names = [n for groups in FAMILY[5].strata for group in groups for n in group]
    values = {name: tuple(40.0 + 1.5 * (name == "coco-r50-gc-r16") + generator.normal(0, 1, 3)) for name in names}
    statement = FAMILY[5].model_copy(update={"margin": None})
    answer = hypotheses.Answer(statement, "undecided", seeds=(0, 1, 2), values=values)
    share = power.estimate_share_decided(answer, 5, 0.01)
    seen = np.array([values[name] for name in names])
    left = (seen - seen.mean(1, keepdims=True) - seen.mean(0) + seen.mean()) * (12 / 6) ** 0.5
    rejected = 0
    for _ in range(1500):
        drawn = {
            name: np.mean(values[name]) + generator.choice(residuals, 5) + generator.normal(0, 1e-6, 5)
            for name, residuals in zip(names, left, strict=True)
        }
        low = np.array([drawn[name] for name in FAMILY[5].strata[0][0]])
        ranks = int((drawn["coco-r50-gc-r16"] > low).sum())
        rejected += min(tail[ranks], tail[15 - ranks]) <= 0.01
    assert share == pytest.approx(rejected / 1500, abs=0.08)


def find_power(statement, effect):
    """How many seeds would decide a statement of two groups, the better of which has runs so much higher."""
    generator = np.random.default_rng(2)
    better = statement.strata[0][-1]
    values = {
        name: tuple(40.0 + effect * (name in better) + generator.normal(0, 1, 3)) for name in statement.experiments
    }
    answer = hypotheses.Answer(statement, "undecided", seeds=(0, 1, 2), values=values)
    return power.estimate_power([answer])[statement.id].seeds or 99


def test_seeds_that_would_decide_are_more_than_there_are_and_fewer_for_a_larger_effect():
    (statement,) = (s for s in FAMILY if s.id == "addition-above-scaling")
    of_order = statement.model_copy(update={"margin": None})
    assert 3 < find_power(of_order, 3.0) < find_power(of_order, 0.8) <= 99
    assert find_power(statement, 0.8) <= find_power(of_order, 0.8)  # it may also be equivalent
    assert power.estimate_power(answer_one_way(TABLE, make({}, seeds=[0]))) == {}


def test_too_few_runs_never_decide():
    (statement,) = (s for s in FAMILY if s.id == "all-stages-above-one")
    values = {name: (40.0 + place, 41.0 + place) for place, name in enumerate(statement.experiments)}
    answer = hypotheses.Answer(statement.model_copy(update={"margin": None}), "undecided", "", (0, 1), values)
    assert power.estimate_share_decided(answer, 2, 0.005) == 0  # one deal in 16


@pytest.mark.parametrize("identity", ["one-block-kinds-on-par", "attention-above-average", "smaller-ratio-better"])
def test_power_of_equivalence_is_that_of_the_test_itself_on_drawn_runs(identity):
    (statement,) = (s for s in FAMILY if s.id == identity)
    generator = np.random.default_rng(7)
    values = {
        name: tuple(40.0 + 0.8 * place + generator.normal(0, 2.2, 3))
        for place, name in enumerate(statement.experiments)
    }
    answer = hypotheses.Answer(statement, "undecided", seeds=(0, 1, 2), values=values)
    drawn = power._draw(answer, 4, np.random.default_rng(power._SEED))
    decided = 0
    for draw in range(power._DRAWS):
        runs = {
            name: network[draw]
            for groups, arrays in zip(statement.strata, drawn, strict=True)
            for group, array in zip(groups, arrays, strict=True)
            for name, network in zip(group, array, strict=True)
        }
        decided += min(hypotheses.compute_p_values(statement, {n: r.tolist() for n, r in runs.items()})) <= 0.01
    assert power.estimate_share_decided(answer, 4, 0.01) == pytest.approx(decided / power._DRAWS, abs=1e-9)
    assert 0.02 < decided / power._DRAWS < 0.98


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_answers_and_json_has_them(tmp_path):
    store = Store(tmp_path / "records")
    for one in make(dict.fromkeys(ADDITION, 70.0)):
        store.add(one)
    result = CliRunner().invoke(cli.app, ["hypotheses", "--table", "2", "--results", str(tmp_path)])
    assert result.exit_code == 0, result.output
    line = next(line for line in result.output.splitlines() if "fusion by addition above scaling" in line)
    assert line.split("  ")[-1].strip() == "holds"
    assert "MINI profile" in result.output
    listed = CliRunner().invoke(cli.app, ["hypotheses", "--results", str(tmp_path), "--json"])
    content = {item["id"]: item for item in json.loads(listed.output)}
    assert set(content) == {statement.id for statement in RULES.statements}
    assert content["addition-above-scaling"]["answer"] == "holds"
    assert content["addition-above-scaling"]["values"][ADDITION[0]] == pytest.approx(
        [r.metrics[0].value for r in make(dict.fromkeys(ADDITION, 70.0)) if r.experiment == ADDITION[0]]
    )
    assert content["kinetics-kinds-on-par"]["answer"] == "not run"


def test_a_table_without_a_statement_is_said_to_have_none(tmp_path):
    (tmp_path / "records").mkdir()
    result = CliRunner().invoke(cli.app, ["hypotheses", "--table", "1", "--results", str(tmp_path)])
    assert result.output == "Of Table 1, tables/hypotheses.yaml has no statement.\n"
    assert result.exit_code == 0


@pytest.mark.parametrize("verb", ["hypotheses", "effects", "claims"])
def test_a_record_that_is_left_out_is_named(verb, tmp_path, capsys, monkeypatch):
    store = Store(tmp_path / "records")
    good, wrong = make({}, seeds=[0])[:2]
    wrong = wrong.model_copy(update={"training": wrong.training.model_copy(update={"effective_batch": 2})})
    for one in (good, wrong):
        store.add(one)
    monkeypatch.setattr("sys.argv", ["repro", verb, "--table", "2", "--results", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "its batch is 2" in line]
    assert line.startswith(f"left out, wrong: record {wrong.filename}: ")
