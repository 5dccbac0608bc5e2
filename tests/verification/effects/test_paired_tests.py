"""`repro effects`: paired tests of rows against their baselines, from records to the file and to what is printed."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pycocotools.mask as pycoco_mask
import pytest
import typer
from PIL import Image
from samples import record
from scipy.stats import binom, binomtest
from typer.testing import CliRunner

from repro import paper
from repro.cli import effects as verb
from repro.data.coco import CocoDetection, Detections
from repro.errors import ReproError
from repro.evaluation import coco, multiview, topk
from repro.evaluation.correctness import load_correctness, save_correctness
from repro.evaluation.matches import match, save_matches
from repro.experiments import get, mini
from repro.records import Store, Submitted
from repro.rendering import bundle
from repro.statistics.bootstrap import compare, draw_resamples, replicate
from repro.verification import integrity
from repro.verification.effects import paired_effects
from repro.verification.effects.evidence import (
    find_predictions,
    keep_evidence,
    locate_evidence,
    obtain_correctness,
    obtain_matches,
)
from repro.verification.effects.paired_tests import PairedTests


@pytest.fixture(autouse=True)
def small_data(monkeypatch):
    """The data sets of these tests are none that the profiles define, which would be said of every record."""
    monkeypatch.setattr(integrity, "find_contradictions", lambda record: ())


BASELINE, GC, NL = "coco-r50-baseline", "coco-r50-gc-r16", "coco-r50-1nl"
HEIGHT, WIDTH = 40, 60
IMAGES = 25
CATEGORIES = (11, 12, 21, 22, 31, 32)


def rectangle(box):
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return pycoco_mask.encode(mask)


def write_data(root):
    """A val2017 of blank images with two objects each."""
    generator = np.random.default_rng(0)
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    entries, annotations = [], []
    for image_id in range(1, IMAGES + 1):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "val2017" / f"{image_id}.png")
        entries.append({"id": image_id, "file_name": f"{image_id}.png", "height": HEIGHT, "width": WIDTH})
        for _ in range(2):
            x, y, side = (int(v) for v in generator.integers((0, 0, 10), (40, 20, 20)))
            polygon = [float(v) for v in (x, y, x + side, y, x + side, y + side, x, y + side)]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "bbox": [x, y, side, side], "iscrowd": 0,
                    "category_id": int(generator.choice(CATEGORIES)), "area": float(side**2), "segmentation": [polygon],
                }
            )  # fmt: skip
    categories = [{"id": i, "name": str(i)} for i in CATEGORIES]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def detections(dataset, noise, seed):
    generator = np.random.default_rng(seed)
    found = {image_id: ([], []) for image_id in dataset.image_ids}
    for one in dataset.build_ground_truth()["annotations"]:
        boxes, labels = found[one["image_id"]]
        box = np.add(one["bbox"], [0, 0, *one["bbox"][:2]])
        boxes.append(np.clip(np.sort((box + generator.normal(0, noise, 4)).reshape(2, 2), axis=0).ravel(), 0, HEIGHT))
        labels.append(CATEGORIES.index(one["category_id"]))
    return [
        Detections(
            image_id, np.array(boxes, dtype=np.float32), generator.random(len(boxes)).astype(np.float32),
            np.array(labels), [rectangle(box) for box in boxes],
        )
        for image_id, (boxes, labels) in found.items()
    ]  # fmt: skip


def run(results, name, dataset, noise, seed=0, **changes):
    """A run's predictions and its record."""
    other = "".join(letter for letter, what in (("d", "engine"), ("b", "numerics")) if what in changes)
    key = f"{seed}{other}{name.encode().hex()}".ljust(64, "0")[-64:]
    made = detections(dataset, noise, [seed, int(10 * noise)])
    plain = record(name, {}, profile="mini")
    directory = results / "runs" / f"{name}.mini.seed{seed}.{key[:12]}"
    one = record(
        name, coco.evaluate(made, dataset), profile="mini", seed=seed,
        **{
            "predictions_sha256": coco.save_predictions(made, directory / "predictions.json.gz"),
            "annotations_sha256": dataset.annotations_sha256, "ids_sha256": dataset.ids_sha256,
            "evaluated": IMAGES, "required": IMAGES, "expected": IMAGES,
            "training": plain.training.model_copy(update={"key": key}),
            **changes,
        },
    )  # fmt: skip
    Store(results / "records").add(one)
    return one, made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(results, data set): three seeds of a baseline and of a better network; one of a third, whose baseline lacks."""
    results = tmp_path_factory.mktemp("whole")
    network = mini.shrink(get(GC)).network
    root = results / "data" / mini.data_directory_for(get(GC))
    write_data(root)
    dataset = CocoDetection(root, "val2017", network.num_classes, network.short_side, network.long_side)
    for seed in range(3):
        run(results, BASELINE, dataset, 2.0, seed)
        run(results, GC, dataset, 1.2, seed)
    return results, dataset


@pytest.fixture
def store(whole, tmp_path):
    """A copy that a test may change."""
    results = tmp_path / "results"
    shutil.copytree(whole[0], results)
    return results


def paired_rows(results, profile="mini", table=2, **options):
    """By (group, row)."""
    records = Store(results / "records").all()
    options = {"number": 200, "seed": 0, "data_root": None} | options
    found = paired_effects.compare_pairs(
        paired_effects.pair_rows(paper.load(table), records, profile), PairedTests(results, **options).test
    )
    return {(one.pair.group.name, one.pair.row.label): one for one in found}


def invoke(*arguments):
    app = typer.Typer()
    app.command()(verb.command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# -- COCO -------------------------------------------------------------------------------------------------------------


def test_each_seed_is_tested_and_the_median_over_seeds_has_an_exact_interval(store):
    row = paired_rows(store)["a", "+all GC"]
    assert row.missing == ()
    assert [one.column for one in row.columns] == [cell.column for cell in row.pair.row.cells if cell.unit == "%"]
    records = {(one.experiment, one.seed): one for one in Store(store / "records").all()}
    for column in row.columns:
        expected = [
            records[GC, seed].metric(column.column).value - records[BASELINE, seed].metric(column.column).value
            for seed in range(3)
        ]
        assert [one.difference for _, one in column.tests] == pytest.approx(expected, abs=1e-9)
        assert [test.seed for test, _ in column.tests] == [0, 1, 2]
        assert column.median == pytest.approx(np.median(expected))
        assert (column.low, column.high) == pytest.approx((min(expected), max(expected)))
        assert column.confidence == pytest.approx(1 - 2 * binom.pmf(0, 3, 0.5))  # all above the median, or all below


def test_the_test_is_the_bootstrap_of_the_two_predictions(store, whole):
    _, dataset = whole
    paired_rows(store)
    stored = {one.seed: one for one in paired_effects.load(store)}
    counts = draw_resamples(IMAGES, 200, np.random.default_rng(0))
    both = [match(detections(dataset, noise, [1, int(10 * noise)]), dataset, "f" * 64) for noise in (1.2, 2.0)]
    for kind in ("box", "mask"):
        expected = compare(*(replicate(one, kind, counts) for one in both))
        for metric, one in zip(("ap", "ap50", "ap75"), expected, strict=True):
            found = stored[1].difference(f"{metric}_{kind}")
            assert (found.difference, found.low, found.high, found.p) == (one.difference, one.low, one.high, one.p)
    assert (stored[1].n, stored[1].resamples, stored[1].resampling_seed) == (IMAGES, 200, 0)


def test_rows_without_runs_say_so(store):
    rows = paired_rows(store)
    assert rows["a", "+1 NL"].columns == ()
    assert rows["a", "+1 NL"].missing == ("no mini-profile record",)
    assert paired_rows(store, "full")["a", "+all GC"].missing == ("no full-profile record on coco-val2017",)
    for path in (store / "records").glob(f"{BASELINE}*"):
        path.unlink()
    assert paired_rows(store)["a", "+all GC"].missing == ("no mini-profile record of its baseline",)


def test_nothing_is_done_twice_and_nothing_stored_is_changed(store):
    first = paired_rows(store)
    before = {path: path.read_bytes() for path in (store / "effects").iterdir()}
    assert len(before) == 3  # one of each seed, for seven rows
    said = []
    assert paired_rows(store, say=said.append) == first
    assert said == []
    paired_rows(store, seed=1)
    assert len(list((store / "effects").iterdir())) == 6
    assert all(path.read_bytes() == content for path, content in before.items())


def test_evidence_is_kept_and_needs_neither_data_nor_predictions_afterwards(store):
    first = paired_rows(store)
    assert len(list((store / "evidence").glob("*.npz"))) == 6
    shutil.rmtree(store / "data")
    shutil.rmtree(store / "runs")
    shutil.rmtree(store / "effects")
    assert paired_rows(store) == first


def test_equal_inputs_give_equal_bytes(store):
    paired_rows(store)
    before = {path.name: path.read_bytes() for path in (store / "effects").iterdir()}
    shutil.rmtree(store / "effects")
    paired_rows(store, threads=2)
    assert {path.name: path.read_bytes() for path in (store / "effects").iterdir()} == before


# -- what cannot be tested is named -----------------------------------------------------------------------------------


def of_seed_0(results, name):
    (path,) = (results / "runs").glob(f"{name}.mini.seed0.*/predictions.json.gz")
    return path


def test_missing_predictions(store):
    of_seed_0(store, GC).unlink()
    row = paired_rows(store)["a", "+all GC"]
    assert row.missing == ("seed 0: neither its evidence (evidence/) nor its predictions (runs/) are there",)
    assert [test.seed for test, _ in row.columns[0].tests] == [1, 2]


def test_changed_predictions(store):
    path = of_seed_0(store, BASELINE)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"image_id":1,', b'"image_id":9,')))
    (reason,) = paired_rows(store)["a", "+all GC"].missing
    assert "are not the ones recorded" in reason


def test_missing_and_changed_data(store):
    (annotations,) = (store / "data").glob("*/annotations/instances_val2017.json")
    annotations.write_text(annotations.read_text().replace('"area": ', '"area": 1'))
    assert all("it has changed" in reason for reason in paired_rows(store)["a", "+all GC"].missing)
    shutil.rmtree(store / "data")
    reasons = paired_rows(store)["a", "+all GC"].missing  # generated again, and the blank images here are others
    assert len(reasons) == 3
    assert all("it has changed" in reason and "Download" not in reason for reason in reasons)
    assert [path.name for path in (store / "data").glob("*/content.json")]


def test_a_record_that_its_predictions_contradict(store, whole):
    wrong, _ = run(store, GC, whole[1], 1.2, seed=3)
    run(store, BASELINE, whole[1], 2.0, seed=3)
    (store / "records" / wrong.filename).unlink()
    metrics = [one.model_copy(update={"value": one.value + (one.name == "ap_box")}) for one in wrong.metrics]
    Store(store / "records").add(wrong.model_copy(update={"metrics": metrics}))
    (reason,) = paired_rows(store)["a", "+all GC"].missing
    assert reason.startswith(f"seed 3: {wrong.filename} says ap_box {metrics[0].value:.4f}; its predictions give")


def test_matches_of_other_predictions_are_not_used(store, whole):
    before = paired_rows(store)["a", "+all GC"].columns[0].tests[0][1].difference
    (path,) = (store / "records").glob(f"{GC}*seed0*")
    path.unlink()
    run(store, GC, whole[1], 0.5)  # again, into the same directory
    row = paired_rows(store)["a", "+all GC"]
    assert row.missing == ()
    assert row.columns[0].tests[0][1].difference > before + 5


def test_damaged_matches(store):
    paired_rows(store)
    shutil.rmtree(store / "effects")
    records = Store(store / "records").all()
    path = locate_evidence(store, next(r for r in records if (r.experiment, r.seed) == (GC, 0)))
    path.write_bytes(path.read_bytes()[:-20])
    (reason,) = paired_rows(store)["a", "+all GC"].missing
    assert f"{path.name} is damaged" in reason
    path.unlink()
    assert paired_rows(store)["a", "+all GC"].missing == ()


def test_runs_that_were_not_measured_alike(store, whole):
    for path in (store / "records").glob(f"{BASELINE}*"):
        path.unlink()
    run(store, BASELINE, whole[1], 2.0, numerics={"precision": "bf16-mixed"})
    (reason,) = paired_rows(store)["a", "+all GC"].missing
    assert "were not measured alike" in reason


def test_a_seed_of_one_alone(store):
    for path in (store / "records").glob(f"{BASELINE}*seed[12]*"):
        path.unlink()
    row = paired_rows(store)["a", "+all GC"]
    assert [test.seed for test, _ in row.columns[0].tests] == [0]
    assert (row.columns[0].low, row.columns[0].high) == (None, None)
    assert row.as_dict()["columns"][0]["over_seeds"] is None
    for path in (store / "records").glob(f"{GC}*seed0*"):
        path.unlink()
    assert paired_rows(store)["a", "+all GC"].missing == ("no seed was run with both",)


def test_a_part_of_cocos_images_is_not_held_against_the_paper(tmp_path):
    for name, value in ((BASELINE, 36.0), (GC, 38.0)):
        Store(tmp_path / "records").add(record(name, {"ap_box": value}, evaluated=80))
    row = paired_rows(tmp_path, "full")["a", "+all GC"]
    assert row.columns == ()
    assert row.missing == (f"{GC}: 80 of 5000 images were evaluated",)


def test_what_the_evaluation_server_answered(tmp_path):
    submitted = Submitted(key="1" * 64, files={"bbox": "2" * 64})
    for name in (BASELINE, GC):
        Store(tmp_path / "records").add(record(name, {"ap_box": 36.0}, submitted=submitted))
    (reason,) = paired_rows(tmp_path, "full")["a", "+all GC"].missing
    assert reason == f"{GC} was evaluated by COCO's server, which gives no results of single images"


# -- stored effects ---------------------------------------------------------------------------------------------------


def test_reading_stored_effects_imports_no_torch(store):
    paired_rows(store)
    code = (
        "import pathlib, sys\n"
        "from repro import paper; from repro.verification.effects import paired_effects\n"
        "from repro.records import Store, Submitted\n"
        f"results = pathlib.Path({str(store)!r})\n"
        "test = paired_effects.look_up(paired_effects.load(results))\n"
        "pairs = paired_effects.pair_rows(paper.load(2), Store(results / 'records').all(), 'mini')\n"
        "rows = paired_effects.compare_pairs(pairs, test)\n"
        "assert 'torch' not in sys.modules and 'faster_coco_eval' not in sys.modules\n"
        "print(len([row for row in rows if row.columns]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert (done.stdout, done.stderr) == ("6\n", "")


def test_a_p_value_that_more_resamples_could_lower_is_said_to_be_an_upper_limit(store):
    """Of 99 resamples none is below zero: the least that they can give is 2 / 100."""
    text = invoke("--table", 2, "--results", store, "--resamples", 99).stdout
    line = next(line for line in text.splitlines() if "(a) +all GC" in line and "AP box" in line)
    assert "<= 0.020" in line
    rows = json.loads(invoke("--table", 2, "--results", store, "--resamples", 99, "--json").stdout)
    tests = [one for row in rows for column in row["columns"] for one in column["tests"]]
    assert {one["p_is_at_most"] for one in tests if one["p"] == pytest.approx(0.02)} == {True}
    assert {one["p_is_at_most"] for one in tests if one["p"] > 0.021} <= {False}


def test_two_seeds_have_no_interval_over_seeds(store):
    for path in (store / "records").glob("*seed2*"):
        path.unlink()
    row = paired_rows(store)["a", "+all GC"]
    assert (len(row.columns[0].tests), row.columns[0].low) == (2, None)
    assert "none of fewer than 3 seeds" in invoke("--table", 2, "--results", store, "--resamples", 200).stdout


def test_two_experiments_stand_once_in_all_tables(store):
    rows = json.loads(invoke("--results", store, "--resamples", 200, "--json").stdout)
    tested = [row for row in rows if row["columns"]]
    assert [(row["table"], row["group"], row["row"]) for row in tested] == [(2, "a", "+all GC")]
    assert "3/a/R50 +GC r16" in tested[0]["also"]


def test_imagenets_seeds_are_said_to_share_stage_1(tmp_path):
    classified(tmp_path, "imagenet-r50-stage1", np.arange(100) % 2 == 0)
    for seed in (0, 1, 2):
        for name, share in (("imagenet-r50-baseline", 0.7), ("imagenet-r50-1gc", 0.8)):
            weights = record(name, {}).weights.model_copy(update={"sha256": f"{seed}{len(name)}".ljust(64, "0")})
            classified(tmp_path, name, np.random.default_rng(seed).random(100) < share, seed=seed, weights=weights)
    row = paired_rows(tmp_path, "full", table=4)["a", "+1GC"]
    assert len(row.pair.runs) == 3
    assert "finetuned from one stage 1" in row.as_dict()["note"]
    assert "note: all seeds were finetuned from one stage 1" in invoke("--table", 4, "--results", tmp_path).stdout


def test_of_several_stored_tests_the_one_of_most_resamples_is_read(store):
    paired_rows(store, number=150)
    paired_rows(store, number=300, seed=7)
    paired_rows(store, number=300, seed=2)
    records = Store(store / "records").all()
    found = paired_effects.compare_pairs(
        paired_effects.pair_rows(paper.load(2), records, "mini"), paired_effects.look_up(paired_effects.load(store))
    )
    row = next(one for one in found if one.columns)
    assert {(test.resamples, test.resampling_seed) for test, _ in row.columns[0].tests} == {(300, 2)}


def test_without_stored_tests_what_to_do_is_said(store):
    records = Store(store / "records").all()
    found = paired_effects.compare_pairs(
        paired_effects.pair_rows(paper.load(2), records, "mini"), paired_effects.look_up([])
    )
    row = next(one for one in found if one.pair.runs)
    assert row.missing == tuple(f"seed {seed}: not tested yet: run `repro effects`" for seed in range(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-140], "not whole JSON"),
        (lambda text: text.replace('"p":', '"q":', 1), r"differences\.0"),
        (lambda text: text.replace('"low":', '"low": NaN, "x":', 1), r"differences\.0\.low"),
        (lambda text: re.sub(r'"p": [^,\n]*', '"p": 0.5', text, count=1), "was changed after it was"),
        (lambda text: re.sub(r'"difference": [^,]*', '"difference": 9.5', text, count=1), "difference is 9.5, of "),
        (
            lambda text: re.sub(r'"low": [^,]*', '"low": 99.5', text, count=1),
            "the interval ends at .*, before it begins",
        ),
        (lambda text: re.sub(r',\n "content_sha256": .*', "", text), "has no content_sha256"),
    ],
    ids=["cut short", "another field", "NaN", "another number", "another difference", "another interval", "no seal"],
)
def test_a_damaged_or_edited_effect_is_named(store, change, message):
    paired_rows(store)
    path = sorted((store / "effects").iterdir())[0]
    path.write_text(change(path.read_text()))
    with pytest.raises(ReproError, match=rf"{path.stem}.*{message}.*Delete it"):
        paired_effects.load(store)


def test_an_effect_under_another_name(store):
    paired_rows(store)
    path = sorted((store / "effects").iterdir())[0]
    path.rename(path.with_name("0.json"))
    with pytest.raises(ReproError, match=rf"0\.json is not the one of that name: its key is {path.stem}"):
        paired_effects.load(store)


def test_a_stored_test_with_other_numbers_than_the_records_is_not_shown(store):
    """As somebody would write it who seals again what was edited."""
    paired_rows(store)
    (other,) = [one for one in paired_effects.load(store) if one.seed == 1]
    first = other.differences[0]
    edited = first.model_copy(update={"ours": first.ours + 3, "difference": first.difference + 3})
    (store / "effects" / f"{other.key}.json").unlink()
    paired_effects.store(other.model_copy(update={"differences": (edited, *other.differences[1:])}), store)
    records = Store(store / "records").all()
    looked_up = paired_effects.compare_pairs(
        paired_effects.pair_rows(paper.load(2), records, "mini"), paired_effects.look_up(paired_effects.load(store))
    )
    for row in (next(one for one in looked_up if one.columns), paired_rows(store)["a", "+all GC"]):
        assert [test.seed for test, _ in row.columns[0].tests] == [0, 2]
        (reason,) = row.missing
        assert reason.startswith(f"seed 1: its stored test has {first.column} {edited.ours:g} of {GC}, the record ")


def test_no_results_no_effects(tmp_path):
    assert paired_effects.load(tmp_path) == []


# -- classification ---------------------------------------------------------------------------------------------------

CLASSES = 20


def classified(results, name, right, **changes):
    """A record of an ImageNet network that is right at top-1 where `right` says so, at top-5 everywhere but once."""
    found = []
    for number, one in enumerate(right):
        label = number % CLASSES
        others = [c for c in range(CLASSES) if c != label][:5]
        classes = [label, *others[:4]] if one else [*others[:4], label] if number else others
        found.append(topk.Prediction(f"{number:04d}", label, classes, [5.0, 4.0, 3.0, 2.0, 1.0]))
    plain = record(name, {})
    key = f"{changes.get('seed', 0)}{name.encode().hex()}".ljust(64, "0")[-64:]
    sha256 = topk.save_predictions(found, results / "runs" / f"{name}.full.seed0.{key[:12]}" / "predictions.json.gz")
    metrics = {f"top{k}": 100 * np.mean([one.is_correct(k) for one in found]).item() for k in (1, 5)}
    one = record(
        name, metrics,
        **{
            "name": "imagenet-val", "evaluated": len(right), "required": 50_000, "expected": 50_000,
            "training": plain.training.model_copy(update={"key": key}), "predictions_sha256": sha256, **changes,
        },
    )  # fmt: skip
    Store(results / "records").add(one)
    return one


def test_mcnemar_of_a_row_against_its_baseline(tmp_path):
    generator = np.random.default_rng(0)
    baseline, ours = generator.random(400) < 0.7, generator.random(400) < 0.75
    baseline[0] = ours[0] = False
    classified(tmp_path, "imagenet-r50-baseline", baseline)
    classified(tmp_path, "imagenet-r50-1gc", ours)
    row = paired_rows(tmp_path, "full", table=4)["a", "+1GC"]
    assert row.missing == ()
    top1, top5 = row.columns
    ((test, found),) = top1.tests
    alone = int(np.sum(ours & ~baseline)), int(np.sum(baseline & ~ours))
    assert found.discordant == alone
    assert test.n == 400
    assert found.difference == pytest.approx(100 * (ours.mean() - baseline.mean()))
    exact = binomtest(alone[0], sum(alone)).pvalue
    assert found.p == pytest.approx(exact, abs=0.02)
    assert found.p < exact
    assert found.low < found.difference < found.high
    assert top5.tests[0][1].difference == 0
    assert top5.tests[0][1].p == 1
    cells = [next(r for r in paper.load(4).rows if r.label == name).cell("top1").value for name in ("+1GC", "baseline")]
    assert top1.published == pytest.approx(cells[0] - cells[1])


def test_an_image_that_one_could_not_read_is_left_out_of_both(tmp_path):
    names = {"imagenet-r50-baseline": "0049", "imagenet-r50-1gc": "0048"}
    for name, failed in names.items():
        one = classified(tmp_path, name, np.ones(50, dtype=bool), failed=[failed])
        path = find_predictions(tmp_path, one)
        kept = [prediction for prediction in topk.load_predictions(path) if prediction.image_id != failed]
        (tmp_path / "records" / one.filename).unlink()
        metrics = [
            metric.model_copy(
                update={"value": 100 * np.mean([p.is_correct(int(metric.name[3:])) for p in kept]).item()}
            )
            for metric in one.metrics
        ]
        changes = {"predictions_sha256": topk.save_predictions(kept, path), "metrics": metrics}
        Store(tmp_path / "records").add(one.model_copy(update=changes))
    ((test, found),) = paired_rows(tmp_path, "full", table=4)["a", "+1GC"].columns[0].tests
    assert (test.n, found.ours, found.baseline) == (48, 100, 100)


def test_videos(tmp_path):
    views = np.full((2, 10), 0.05, dtype=np.float16)
    for name, right in (("kinetics-r50-baseline", 3), ("kinetics-r50-5gc", 5)):
        found = []
        for number in range(8):
            mine = views.copy()
            mine[:, 2 if number < right else 5] = 0.5
            found.append(multiview.Scores(f"video{number}", 2, mine))
        key = name.encode().hex().ljust(64, "0")[-64:]
        sha256 = multiview.save_scores(found, tmp_path / "runs" / f"{name}.full.seed0.{key[:12]}" / "predictions.gz")
        training = record(name, {}).training.model_copy(update={"key": key})
        one = record(
            name, {"top1": 100 * right / 8, "top5": 100.0}, name="kinetics-val", training=training, evaluated=8,
            predictions_sha256=sha256,
        )  # fmt: skip
        Store(tmp_path / "records").add(one)
    row = paired_rows(tmp_path, "full", table=5)["", "+5 GC"]
    assert row.missing == ()
    ((test, found),) = row.columns[0].tests
    assert (test.n, found.difference, found.discordant) == (8, 25, (2, 0))
    assert found.p == pytest.approx(2 * 0.25 - 0.25)


def test_another_recipe_is_not_held_against_the_paper(tmp_path):
    right = np.ones(50, dtype=bool)
    classified(tmp_path, "imagenet-r50-baseline", right)
    classified(tmp_path, "imagenet-r50-1gc", right, departures=["half of the iterations"])
    row = paired_rows(tmp_path, "full", table=4)["a", "+1GC"]
    assert row.missing == ("imagenet-r50-1gc: another recipe than the paper's: half of the iterations",)
    assert row.columns == ()


# -- the command ------------------------------------------------------------------------------------------------------


def test_what_is_printed_of_the_mini_profile(store):
    done = invoke("--table", 2, "--results", store, "--resamples", 200)
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert "MINI profile: generated data and scaled-down networks. The numbers are not comparable" in text
    assert "1 of 17 rows tested" in text
    assert text.count("(a) +all GC  AP box") == 3 + 1  # a line of each seed, and one of all
    assert "(a) +all GC is also 2/b/after1x1, 2/c/c3+c4+c5, 2/d/r16+LN+ReLU, 2/e/ratio 16, 2/f/att+add" in text
    assert "published" not in text
    line = next(line for line in text.splitlines() if "(a) +all GC" in line and "AP box" in line)
    assert line.endswith("25  images only (seed 0)")
    (over_seeds,) = (line for line in text.splitlines() if "AP box" in line and "seeds only (median)" in line)
    assert "(75%)" in over_seeds
    shown = sorted(float(line.split()[5]) for line in text.splitlines() if "(a) +all GC  AP box" in line)
    assert float(over_seeds.split()[5]) == shown[1] == shown[2]  # the median is the middle one of the three seeds
    assert "None covers both." in text
    assert "measured in one way: trained here, torchvision" in text
    assert "not tested: no mini-profile record: (a) +1 NL; (a) +1 SNL; (a) +1 GC; (b) afterAdd; " in text
    assert "by `repro reproduce --table 2 --profile mini --results NEW`, where NEW is a new directory" in text


def test_json_has_the_same_and_nothing_published_of_the_mini_profile(store):
    done = invoke("--table", 2, "--results", store, "--resamples", 200, "--json")
    rows = json.loads(done.stdout)
    assert {row["profile"] for row in rows} == {"full", "mini"}
    assert len(rows) == 2 * 17
    mini_rows = [row for row in rows if row["columns"]]
    assert len(mini_rows) == 1
    first = mini_rows[0]["columns"][0]
    assert (first["over_seeds"]["covers"], first["over_seeds"]["confidence"]) == ("seeds only", 0.75)
    assert {one["covers"] for one in first["tests"]} == {"images only"}
    assert all(column["published"] is None for row in mini_rows for column in row["columns"])
    assert [one["seed"] for one in mini_rows[0]["columns"][0]["tests"]] == [0, 1, 2]


def test_each_way_of_measuring_is_tested_and_none_is_preferred(store, whole):
    """One seed in another engine; a third way lacks the baseline."""
    dataset = whole[1]
    for name, blur in ((BASELINE, 2.1), (GC, 0.5)):
        run(store, name, dataset, blur, 0, engine="detectron2")
    run(store, GC, dataset, 1.0, 0, numerics={"precision": "bf16-mixed"}, departures=["precision bf16-mixed"])
    records = Store(store / "records").all()
    pairs = paired_effects.pair_tables([paper.load(2)], records, "mini")
    found = paired_effects.compare_pairs(pairs, PairedTests(store, None, 200, 0).test)
    mine = {one.pair.way: one for one in found if one.pair.row.label == "+all GC" and one.columns}
    assert {way: [test.seed for test, _ in one.columns[0].tests] for way, one in mine.items()} == {
        "trained here, torchvision": [0, 1, 2],
        "trained here, detectron2": [0],
    }
    alone = [one for one in found if one.pair.row.label == "+all GC" and not one.columns]
    assert [one.missing[0].split(": ")[1] for one in alone] == ["no baseline was measured alike"]
    text = invoke("--table", 2, "--results", store, "--resamples", 200).stdout
    assert "measured in 2 ways: " in text
    assert "(a) +all GC [trained here, detectron2]" in text
    assert {row.get("way") for row in json.loads(
        invoke("--table", 2, "--results", store, "--resamples", 200, "--json").stdout
    ) if row["columns"]} == set(mine)  # fmt: skip


def test_what_is_printed_of_the_full_profile(tmp_path):
    right = np.arange(100) % 2 == 0
    classified(tmp_path, "imagenet-r50-stage1", ~right)
    classified(tmp_path, "imagenet-r50-baseline", right)
    classified(tmp_path, "imagenet-r50-1gc", right | (np.arange(100) < 20))
    text = invoke("--table", 4, "--results", tmp_path).stdout
    line = next(line for line in text.splitlines() if line.strip().startswith("(a) +1GC  Top-1"))
    assert line.split()[3:5] == ["+0.46", "+10.000"]  # 77.34 - 76.88
    assert "published" in text


def test_tables_without_a_baseline(tmp_path):
    assert "no row has a baseline" in invoke("--table", 1, "--results", tmp_path).stdout


# -- evidence ---------------------------------------------------------------------------------------------------------


def refuse():
    raise AssertionError("the data were opened")


def repeat_from_bundle(results, directory):
    """What `repro effects --json` gives from an unpacked bundle of `results` without its stored effects."""
    bundle.write(results, directory / "bundle.zip")
    assert bundle.verify(directory / "bundle.zip") == []
    unpacked = directory / "unpacked"
    with zipfile.ZipFile(directory / "bundle.zip") as archive:
        archive.extractall(unpacked)
    shutil.rmtree(unpacked / "effects", ignore_errors=True)
    assert not (unpacked / "runs").exists()
    done = invoke("--results", unpacked, "--resamples", 200, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_reviewer_repeats_every_test_from_a_bundle_alone(store, tmp_path):
    paired_rows(store)
    ours = json.loads(invoke("--results", store, "--resamples", 200, "--json").stdout)
    found = repeat_from_bundle(store, tmp_path)
    tested = [row for row in found if row["columns"]]
    assert [row["columns"] for row in tested] == [row["columns"] for row in ours if row["columns"]]
    assert len(tested[0]["columns"][0]["tests"]) == 3


def test_a_reviewer_repeats_mcnemar_too(tmp_path):
    right = np.arange(100) % 2 == 0
    classified(tmp_path / "results", "imagenet-r50-stage1", ~right)
    for name, which in (("imagenet-r50-baseline", right), ("imagenet-r50-1gc", right | (np.arange(100) < 20))):
        one = classified(tmp_path / "results", name, which)
        assert keep_evidence(tmp_path / "results", one, "imagenet", refuse).exists()
    (row,) = (row for row in repeat_from_bundle(tmp_path / "results", tmp_path) if row["columns"])
    (test,) = row["columns"][0]["tests"]
    assert (test["discordant"], test["difference"]) == ([10, 0], pytest.approx(10))


def test_evidence_of_other_predictions_is_not_used(tmp_path):
    right = np.arange(100) % 2 == 0
    first = classified(tmp_path, "imagenet-r50-1gc", right)
    path = keep_evidence(tmp_path, first, "imagenet", refuse)
    content = load_correctness(path)
    assert content.right[:, 0].tolist() == right.tolist()
    save_correctness(replace(content, predictions_sha256="0" * 64, right=~content.right), path)
    assert obtain_correctness(tmp_path, first, "imagenet").right[:, 0].tolist() == right.tolist()


def test_evidence_that_the_record_contradicts_is_named(store):
    one = next(r for r in Store(store / "records").all() if (r.experiment, r.seed) == (GC, 0))
    paired_rows(store)
    matches = obtain_matches(store, one, refuse)
    none = {kind: np.zeros_like(bits) for kind, bits in matches.true.items()}
    save_matches(replace(matches, true=none), locate_evidence(store, one))
    shutil.rmtree(store / "effects")
    reason = paired_rows(store)["a", "+all GC"].missing[0]
    assert reason.startswith(f"seed 0: {one.filename} says ap_box")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-30], "is damaged"),
        (lambda content: b"PK" + content, "is damaged"),
        (lambda content: b"", "is damaged"),
    ],
)
def test_damaged_evidence_of_a_classifier_is_named(tmp_path, damage, message):
    one = classified(tmp_path, "imagenet-r50-1gc", np.ones(20, dtype=bool))
    path = keep_evidence(tmp_path, one, "imagenet", refuse)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ReproError, match=message):
        load_correctness(path)


def test_a_submission_has_no_evidence(tmp_path):
    submitted = record(GC, {"ap_box": 36.0}, submitted=Submitted(key="1" * 64, files={"bbox": "2" * 64}))
    assert keep_evidence(tmp_path, submitted, "coco", refuse) is None
