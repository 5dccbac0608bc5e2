"""Table 1's rows: statistics of attention as records beside those of accuracy, of the same weights."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from unittest.mock import ANY

import pytest
import torch
import video_files
from samples import record

from repro import paper, tasks
from repro.analysis import survey as surveys
from repro.analysis.survey import MEAN
from repro.data.kinetics import LABELS
from repro.data.miniature import coco as miniature
from repro.evaluation import ATTENTION_EVALUATOR, EVALUATORS
from repro.experiments import digest, get, mini, preprocessing, readings
from repro.files.regular_files import sha256
from repro.measuring import attention, worker
from repro.measuring.attention import measure_attention
from repro.measuring.measure import measure
from repro.planning import keys, lookup, plan
from repro.planning.work_order import order_work
from repro.settings import Settings
from repro.verification.integrity import find_problems

pytestmark = pytest.mark.rounding

NAME = "coco-r50-1nl"
COLUMNS = ["cos_input", "cos_output", "cos_att", "jsd_att"]


@pytest.fixture(scope="module")
def small():
    """The mini profile of COCO with 16 + 6 images, two iterations of pre-training and four of training."""
    patch = pytest.MonkeyPatch()
    scenes = replace(mini.coco.SCENES, train_images=16, val_images=6, lit_images=8, classification_images=16)
    recipe = replace(mini.coco.PRETRAINING.recipe, batch_size=4, iterations=2)
    for module in (mini.coco, miniature):
        patch.setattr(module, "SCENES", scenes)
    patch.setattr(mini.coco, "PRETRAINING", replace(mini.coco.PRETRAINING, recipe=recipe))
    shared = replace(mini.coco.SHARED_RECIPE, batch_size=4, iterations=2, warmup_iterations=1)
    patch.setattr(mini.coco, "SHARED_RECIPE", shared)
    patch.setattr(mini.coco, "DATASET_KEY", "1" * 64)
    patch.setattr(mini.coco, "CONTENT", ANY)
    shrink = mini.shrink
    short = {"iterations": 4, "batch_size": 4, "warmup_iterations": 1}
    patch.setattr(mini, "shrink", lambda e: replace(shrink(e), recipe=replace(shrink(e).recipe, **short)))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def table2(small, tmp_path_factory):
    """What a reproduction of Table 2 leaves of its non-local row: settings and record."""
    settings = Settings(results=tmp_path_factory.mktemp("table2"))
    return settings, measure(order_work(NAME, settings), command="repro reproduce --table 2", progress=lambda *_: None)


@pytest.fixture
def settings(table2, tmp_path):
    """A copy of it."""
    whole, _ = table2
    return replace(whole, results=shutil.copytree(whole.results, tmp_path / "results"))


def step(settings, name=NAME):
    (found,) = plan.plan([name], settings, attention=plan.attention_experiments(1))
    return found


def reproduced(settings, name=NAME):
    """The events of a worker that is given this step."""
    events = io.StringIO()
    order = replace(order_work(name, settings), attention=True)
    worker._execute(worker.write_task(order, "repro reproduce --table 1"), events)
    return [json.loads(line) for line in events.getvalue().splitlines()]


def stages(events):
    return list(dict.fromkeys(event["stage"] for event in events if event["event"] == "progress"))


def statistics(settings):
    (found,) = [record for record in settings.store.all() if record.evaluator == ATTENTION_EVALUATOR]
    return found


def test_table_1_alone_wants_statistics_and_of_all_its_rows():
    assert plan.attention_experiments(1) == {row.experiment for row in paper.load(1).rows}
    assert len(plan.attention_experiments(1)) == 8
    assert not any(plan.attention_experiments(number) for number in (2, 3, 4, 5))


def test_what_table_2_trained_is_only_looked_at(settings):
    before = step(settings)
    assert (before.status, before.statistics) == ("ready", None)
    assert before.reason.endswith("statistics of its attention missing")
    assert "trained again" not in before.reason
    events = reproduced(settings)
    assert stages(events) == ["analysis"]
    after = step(settings)
    assert (after.status, after.statistics) == ("measured", statistics(settings))
    assert after.record == before.record
    (event,) = reproduced(settings)
    assert (event["event"], event["record"]) == ("measured", before.record.filename)
    assert event["result"] == f"AP box {before.record.metric('ap_box').value:.2f} %, AP mask 0.00 %"


def test_the_record_is_of_the_same_weights(table2, settings):
    _, ordinary = table2
    reproduced(settings)
    found = statistics(settings)
    same = ("experiment", "profile", "source", "seed", "spec_hash", "weights", "training", "dataset", "complexity")
    assert [getattr(found, field) for field in same] == [getattr(ordinary, field) for field in same]
    assert [metric.name for metric in found.metrics] == COLUMNS
    assert all(metric.n == 6 and metric.standard_error > 0 and metric.unit == "" for metric in found.metrics)
    assert set(ordinary.deviations) < set(found.deviations)
    assert "which images" in found.deviations[-1]
    assert found.cost.train_seconds == 0
    assert find_problems(settings.store.files(), {}) == ()
    (kept,) = (settings.results / "analysis").glob("*/statistics.json")
    of_block = next(iter(json.loads(kept.read_text())["statistics"].values()))
    assert {m.name: m.value for m in found.metrics} == {name: value["mean"] for name, value in of_block.items()}


def test_accuracy_is_measured_where_it_is_missing(small, tmp_path):
    settings = Settings(results=tmp_path)
    before = step(settings)
    assert before.order.attention
    assert before.reason == "no record yet; with the statistics of its attention"
    assert stages(reproduced(settings)) == [
        "pre-training", "training of the shared detector", "training", "evaluation", "analysis",
    ]  # fmt: skip
    assert step(settings).status == "measured"


def test_weights_that_are_lost_are_trained_again(settings):
    shutil.rmtree(settings.results / "runs")
    before = step(settings)
    assert "its weights are not here: it is trained again" in before.reason
    assert "s of one core" in before.cost.words
    assert "training" in stages(reproduced(settings))
    assert step(settings).status == "measured"
    assert len(settings.store.all()) == 2  # the same weights, hence the same record of their accuracy


def test_weights_that_are_not_what_the_training_ended_in_are_trained_again(settings):
    (path,) = settings.results.glob(f"runs/{NAME}.*/weights.pt")
    state = torch.load(path, weights_only=True)
    torch.save({name: tensor + 1e-3 if tensor.is_floating_point() else tensor for name, tensor in state.items()}, path)
    assert "training" in stages(reproduced(settings))
    again = torch.load(path, weights_only=True)
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    assert len(settings.store.all()) == 2


class Killed(Exception):
    pass


def test_killed_in_the_middle_it_goes_on(table2, settings, tmp_path):
    whole, ordinary = table2
    other = replace(whole, results=shutil.copytree(whole.results, tmp_path / "whole"))
    expected = measure_attention(ordinary, other, command="", progress=lambda *_: None)

    def kill(stage, done, total, at=None):
        if done == 4:
            raise Killed

    with pytest.raises(Killed):
        measure_attention(ordinary, settings, command="", progress=kill)
    (kept,) = (settings.results / "analysis").glob("*/images.jsonl")
    first = kept.read_bytes()
    assert len(first.splitlines()) == 4
    assert step(settings).status == "ready"
    found = measure_attention(ordinary, settings, command="", progress=lambda *_: None)
    assert (found.key, found.metrics) == (expected.key, expected.metrics)
    assert kept.read_bytes().startswith(first)
    assert len(kept.read_bytes().splitlines()) == 6


def test_statistics_of_another_version_are_computed_again(settings, monkeypatch):
    reproduced(settings)
    for module in (plan, lookup, surveys, attention):
        monkeypatch.setattr(module, "ATTENTION_EVALUATOR", "repro attention statistics 2")
    assert step(settings).reason.endswith(f"computed by {ATTENTION_EVALUATOR}, now repro attention statistics 2")
    assert stages(reproduced(settings)) == ["analysis"]
    assert step(settings).status == "measured"


# -- Kinetics ---------------------------------------------------------------------------------------------------------

VIDEO = "kinetics-r50-5nl"


@pytest.fixture
def kinetics(tmp_path, monkeypatch):
    """Settings of the full profile with four videos, one of which is damaged, and a small network trained on them."""
    whole = get(VIDEO)
    backbone = replace(whole.network.backbone, width=4)
    experiment = replace(whole, network=replace(whole.network, backbone=backbone, input_size=(4, 32, 32)))
    monkeypatch.setattr(mini, "get_at_profile", lambda name, profile: experiment)
    small = replace(
        preprocessing.CLIPS_TRAINED_HERE, resize=40, crop=32, crops=3, frames=4, stride=2, clips=3, window=1
    )
    monkeypatch.setattr(preprocessing, "CLIPS_TRAINED_HERE", small)
    for index in range(4):
        path = tmp_path / "kinetics400" / "val" / LABELS[index] / f"Q000000000{index}_000000_000010.mp4"
        video_files.write(path, frames=20, size=(48, 40))
        if index == 3:
            path.write_bytes(path.read_bytes()[:500])
    settings = Settings(tmp_path / "results", "full", data_root=tmp_path / "kinetics400", initial="random")
    monkeypatch.setattr(keys, "training_directory", lambda *_: tmp_path / "run")
    torch.manual_seed(0)
    network = tasks.task_for(experiment, settings).build_network()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    (tmp_path / "run").mkdir()
    torch.save(network.state_dict(), tmp_path / "run" / "weights.pt")
    return settings, experiment


def test_a_row_of_kinetics(kinetics, tmp_path):
    settings, experiment = kinetics
    made = record(
        VIDEO, {"top1": 70.0}, evaluator=EVALUATORS["kinetics"], spec_hash=experiment.spec_hash, name="kinetics-val"
    )
    weights = made.weights.model_copy(update={"sha256": sha256(tmp_path / "run" / "weights.pt")})
    made = made.model_copy(update={"weights": weights})
    found = measure_attention(made, settings, command="", progress=lambda *_: None)
    assert [metric.name for metric in found.metrics] == COLUMNS
    assert all(metric.n == 3 for metric in found.metrics)
    assert (found.dataset.name, found.dataset.evaluated, found.dataset.expected) == ("kinetics-val", 3, 4)
    assert found.dataset.failed == ["Q0000000003_000000_000010"]
    assert "one clip of each video" in found.deviations[-2]
    assert "mean over the 5 blocks" in found.deviations[-1]
    (kept,) = (settings.results / "analysis").glob("*/statistics.json")
    summary = json.loads(kept.read_text())
    assert len(summary["statistics"]) == 6
    for metric in found.metrics:
        of_blocks = [of[metric.name]["mean"] for name, of in summary["statistics"].items() if name != MEAN]
        assert metric.value == pytest.approx(sum(of_blocks) / 5, rel=1e-12)


def test_the_clip_is_from_the_middle_and_the_crop_from_the_centre(kinetics):
    from repro.analysis import subjects

    settings, _ = kinetics
    subject = subjects.load_experiment(VIDEO, settings, random=False)
    shown = subjects.choose_images(subject, settings)
    pixels = shown.pixels(0)
    assert pixels.shape == (3, 4, 32, 32)
    # 20 frames, a clip spans 4 * 2: floor(13 / 2) = 6 is its first, the others are spread over 7 frames.
    path = settings.data_root / "val" / LABELS[0] / "Q0000000000_000000_000010.mp4"
    frames = [torch.from_numpy(frame).permute(2, 0, 1) for frame in video_files.all_frames(path)]
    for t, number in enumerate((6, 8, 10, 13)):
        assert torch.equal(pixels[:, t], frames[number][:, 4:36, 8:40])
    observed = subject.observe(pixels)
    assert len(observed) == 5
    assert observed[0].input.shape[1:] == (4, 4, 4)


# -- readings ---------------------------------------------------------------------------------------------------------


def test_a_reading_of_the_evaluation_trains_no_network_of_its_own(table2, settings):
    _, ordinary = table2
    reading = {"attention-images": "six"}
    other = replace(settings, readings=tuple(reading.items()))
    order = order_work(NAME, other)
    assert order.attention
    assert order.training == order.network_of == order_work(NAME, settings)
    found = step(other)
    assert (found.status, found.experiment.readings) == ("ready", other.readings)
    assert "evaluates the network of the default" in found.reason
    events = io.StringIO()
    worker._execute(worker.write_task(order, "repro run"), events)
    assert "training" not in stages([json.loads(line) for line in events.getvalue().splitlines()])
    made = [stored for stored in other.store.all() if stored.readings == reading]
    assert {each.evaluator for each in made} == {ATTENTION_EVALUATOR, EVALUATORS["coco"]}
    for each in made:
        assert each.weights == ordinary.weights
        assert each.spec_hash == order.experiment.spec_hash
        assert each.training.key == order.key != ordinary.training.key
    assert step(other).status == "measured"
    assert step(settings).record == ordinary  # the default's is as it was
    assert find_problems(other.store.files(), {}) == ()
    assert not list(order.directory.glob("weights.pt"))


def test_a_reading_of_the_evaluation_is_trained_first_where_nothing_is(small, tmp_path):
    settings = Settings(results=tmp_path, readings=(("attention-images", "six"),))
    made = measure(order_work(NAME, settings), command="", progress=lambda *_: None)
    (default,) = [stored for stored in settings.store.all() if not stored.readings]
    assert made.weights == default.weights
    assert made.metrics == default.metrics


def test_a_reading_takes_the_statistics_of_one_block(kinetics, tmp_path):
    settings, experiment = kinetics
    values = {}
    for block in ("mean", "first", "last"):
        followed = () if block == "mean" else (("attention-block", block),)
        spec_hash = readings.apply(experiment, followed).spec_hash
        made = record(
            VIDEO, {"top1": 70.0}, evaluator=EVALUATORS["kinetics"], spec_hash=spec_hash, name="kinetics-val",
            readings=dict(followed),
        )  # fmt: skip
        weights = made.weights.model_copy(update={"sha256": sha256(tmp_path / "run" / "weights.pt")})
        training = made.training.model_copy(update={"key": digest(block)})
        made = made.model_copy(update={"weights": weights, "training": training})
        found = measure_attention(made, replace(settings, readings=followed), command="", progress=lambda *_: None)
        assert found.readings == dict(followed)
        values[block] = {metric.name: metric.value for metric in found.metrics}
    kept = json.loads(next((settings.results / "analysis").glob("*/statistics.json")).read_text())["statistics"]
    first, *_, last = [
        {column: value["mean"] for column, value in of.items()} for name, of in kept.items() if name != MEAN
    ]
    assert values["first"] == first != values["mean"]
    assert values["last"] == last != values["mean"]
