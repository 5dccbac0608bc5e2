"""Table 4 from images to records, in small: two stages, interruptions, bad files, real photographs, public weights."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import imagenet_measurements as small
import imagenet_trees as trees
import pytest
import recorded_operators
import torch
from PIL import Image
from places import ROOT, SHARED, SUPPORT
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.models.resnet import Bottleneck as PeerBottleneck
from torchvision.models.resnet import ResNet as PeerResNet
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from repro import experiments, paper
from repro.checkpoints import initial_weights, registry
from repro.checkpoints.download import Fetched
from repro.checkpoints.registry import CheckpointEntry, Registry
from repro.data.synsets import WNIDS
from repro.engine import graphs
from repro.errors import ReproError
from repro.evaluation import topk
from repro.experiments import SE
from repro.measuring import execution
from repro.measuring.measure import measure
from repro.models.resnet import ResNet
from repro.paper import tolerances
from repro.planning import keys, plan
from repro.planning.work_order import order_work
from repro.tasks.classification import Classification, ClassifierEvaluation
from repro.verification import judgement

pytestmark = pytest.mark.rounding

STAGE1, GC, BASELINE = "imagenet-r50-stage1", "imagenet-r50-gc-r16", "imagenet-r50-baseline"


@pytest.fixture(scope="module", autouse=True)
def shortened():
    patch = pytest.MonkeyPatch()
    for name, experiment in small.all_small().items():
        patch.setitem(experiments.EXPERIMENTS, name, experiment)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Settings and record of both stages of GC, never interrupted."""
    settings = small.settings(data, tmp_path_factory.mktemp("whole"))
    return settings, run(GC, settings)


def run(name, settings, progress=lambda *_: None, **options):
    return measure(order_work(name, settings), command="repro run", progress=progress, **options)


def refuse(*_):
    raise AssertionError("something was trained or evaluated again")


def directory(name, settings):
    return keys.training_directory(experiments.get(name), settings)


def files(settings, *names):
    """What the runs of these experiments have written, all of it."""
    found = {}
    for name in names:
        for path in directory(name, settings).iterdir():
            if path.name in ("weights.pt", "log.jsonl", "predictions.json.gz"):
                found[name, path.name] = path.read_bytes()
    assert len(found) == 3 * len(names)
    return found


# -- two stages -------------------------------------------------------------------------------------------------------


def test_the_first_stage_is_trained_once_and_recorded(whole, tmp_path):
    settings = replace(whole[0], results=Path(shutil.copytree(whole[0].results, tmp_path / "copy")))
    first, second = sorted(settings.store.all(), key=lambda record: record.experiment != STAGE1)
    assert (first.experiment, second.experiment) == (STAGE1, GC)
    assert second == whole[1]
    content = (directory(STAGE1, settings) / "weights.pt").read_bytes()
    assert second.weights.initial_sha256 == first.weights.sha256 == hashlib.sha256(content).hexdigest()
    assert (first.training.iterations, second.training.iterations) == (12, 6)
    assert (first.seed, first.weights.initial_sha256) == (0, None)
    said = []
    for name, seed in ((BASELINE, 0), ("imagenet-r50-avg-scale", 0), (GC, 1)):
        record = run(name, replace(settings, seed=seed), say=said.append)
        assert (record.seed, record.weights.initial_sha256) == (seed, first.weights.sha256)
        assert "imagenet-r50-stage1" in record.weights.origin
    assert [text.split(":")[0] for text in said] == [BASELINE, "imagenet-r50-avg-scale", GC]
    assert sorted(record.experiment for record in settings.store.all()).count(STAGE1) == 1
    assert run(GC, settings, progress=refuse) == second
    others = {record.weights.sha256 for record in settings.store.all()}
    assert len(others) == 5


def test_a_record_of_the_first_stage_without_its_weights_is_not_enough(whole, tmp_path):
    settings = replace(whole[0], results=Path(shutil.copytree(whole[0].results, tmp_path / "copy")))
    expected, record = files(settings, STAGE1), settings.store.all()[-1]
    (directory(STAGE1, settings) / "weights.pt").unlink()
    assert run(GC, settings, progress=refuse) == whole[1]  # it was measured, and needs them no more
    run(BASELINE, settings)
    assert files(settings, STAGE1) == expected
    assert settings.store.all()[-1] == record
    assert record.experiment == STAGE1


def test_a_damaged_first_stage_is_no_start(whole, tmp_path, capsys):
    """Its record is there, and its weights are of a size and form that would load."""
    settings = replace(whole[0], results=Path(shutil.copytree(whole[0].results, tmp_path / "copy")))
    expected = files(settings, STAGE1)
    path = directory(STAGE1, settings) / "weights.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    record = run(BASELINE, settings)
    said = capsys.readouterr().err
    assert f"{path} is damaged: its sha256 is not the one in fitted.json" in said
    assert record.weights.initial_sha256 == hashlib.sha256(expected[STAGE1, "weights.pt"]).hexdigest()
    assert files(settings, STAGE1) == expected


def test_a_shard_that_was_changed_is_predicted_again(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ClassifierEvaluation, "shard", 4)
    settings, undisturbed = (
        replace(whole[0], results=Path(shutil.copytree(whole[0].results, tmp_path / name))) for name in ("a", "b")
    )
    for one in (settings, undisturbed):
        (record,) = one.store.directory.glob(f"{GC}.*")
        record.unlink()

    def stop(stage, done, _, at=None):
        if (stage, done) == ("evaluation", 9):
            raise Interrupted

    for name, change in (("000000.done", b'"seconds": 9'), ("000004.json.gz", b"")):
        with pytest.raises(Interrupted):
            run(GC, settings, stop)
        path = directory(GC, settings) / "shards" / name
        path.write_bytes(re.sub(rb'"seconds": ?[0-9]', change, path.read_bytes()) if change else b"half")
    again = run(GC, settings)
    said = capsys.readouterr().err
    assert "000000.done was changed after it was written" in said
    assert "The items 0 to 3 are predicted again." in said
    assert "000004.json.gz" in said
    assert "The items 4 to 7 are predicted again." in said
    assert again.predictions_sha256 == run(GC, undisturbed).predictions_sha256
    assert again.metrics == whole[1].metrics


def test_another_first_stage_is_another_second_one(whole, tmp_path, monkeypatch):
    key = keys.training_key(experiments.get(GC), whole[0])
    first = experiments.get(STAGE1)
    monkeypatch.setitem(experiments.EXPERIMENTS, STAGE1, replace(first, recipe=replace(first.recipe, epochs=3)))
    assert keys.training_key(experiments.get(GC), whole[0]) != key


def test_the_plan_shows_what_starts_from_what(whole):
    settings, _ = whole
    first, gc, baseline = plan.plan([GC, BASELINE], settings)
    assert (first.experiment.name, first.status, first.needed_by) == (STAGE1, "measured", (BASELINE,))
    assert (gc.status, gc.needed_by) == ("measured", ())
    assert (baseline.status, baseline.reason.split("; ")[1]) == ("ready", f"starts from {STAGE1}")


@pytest.mark.parametrize("how", ["file", "id"])
def test_other_weights_take_the_first_stages_place_and_are_a_departure(whole, data, tmp_path, monkeypatch, how):
    file = tmp_path / "public.pth"
    torch.save(peer().state_dict(), file)
    settings = replace(small.settings(data, tmp_path / "results"), initial=str(file))
    if how == "id":
        entry = published(file, "torchvision/small", "torchvision", BASELINE)
        known = Fetched(file, hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size, None)
        monkeypatch.setattr(initial_weights.fetching, "fetch", lambda wanted: {entry.id: known}[wanted.id])
        monkeypatch.setattr(registry, "load", lambda: Registry((entry,), Path("checkpoints.yaml")))
        settings = replace(settings, initial="torchvision/small")
    (step,) = plan.plan([GC], settings)
    assert (step.experiment.name, step.reason) == (GC, "no record yet")
    record = run(GC, settings)
    assert record.weights.initial_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    (departure,) = record.departures
    named = "public.pth" if how == "file" else "small"
    assert departure == f"initial weights given by hand, {named}, instead of {STAGE1}"
    assert [one.experiment for one in settings.store.all()] == [GC]


# -- interruptions ----------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


#: Every moment at which a progress report comes: 12 and 6 iterations, 9 images each.
MOMENTS = [
    (name, stage, number)
    for name, iterations in ((STAGE1, 12), (GC, 6))
    for stage, count in (("training", iterations), ("evaluation", small.VALIDATION_IMAGES))
    for number in range(1, count + 1)
]


def test_interrupted_twenty_times_at_random_it_ends_with_the_same_bytes(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(ClassifierEvaluation, "shard", 4)
    monkeypatch.setattr(ClassifierEvaluation, "batch", 2)
    settings, interrupted = (replace(whole[0], results=tmp_path / name) for name in ("whole", "interrupted"))
    expected = run(GC, settings)  # with these batches
    seed = int(time.time())
    moments = sorted(random.Random(seed).sample(MOMENTS, 20), key=MOMENTS.index)
    print(f"seed {seed}: {moments}")
    for moment in moments:

        def stop(stage, done, total, at=None, moment=moment):
            name = GC if any(record.experiment == STAGE1 for record in interrupted.store.all()) else STAGE1
            if (name, stage, done) == moment:
                raise Interrupted

        with pytest.raises(Interrupted):
            run(GC, interrupted, stop)
    record = run(GC, interrupted)
    assert files(interrupted, STAGE1, GC) == files(settings, STAGE1, GC)
    assert (record.key, record.metrics) == (expected.key, expected.metrics)
    stages = {name: record.training.resumed for name, record in by_name(interrupted).items()}
    assert sum(stages.values()) > 0
    assert {path.name for path in directory(GC, interrupted).iterdir() if path.name[0] != "."} == {
        "fitted.copy.json", "fitted.json", "log.jsonl", "metrics.csv", "predictions.json.gz", "weights.pt",
    }  # fmt: skip


def by_name(settings):
    return {record.experiment: record for record in settings.store.all()}


def test_killed_in_either_stage_it_ends_with_the_same_bytes(whole, data, tmp_path):
    settings, expected = whole
    interrupted = replace(settings, results=tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SUPPORT / "imagenet_measurements.py"), GC, str(data), str(tmp_path)]
    for steps in (7, 5 + small.VALIDATION_IMAGES + 5):  # in stage 1; from iteration 6, in stage 2
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(steps):
                assert process.stdout.readline()
            time.sleep(random.Random(time.time()).uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    assert list(by_name(interrupted)) == [STAGE1]
    record = run(GC, interrupted)
    assert files(interrupted, STAGE1, GC) == files(settings, STAGE1, GC)
    assert (record.key, record.metrics) == (expected.key, expected.metrics)
    assert [one.training.resumed for one in by_name(interrupted).values()] == [1, 1]


# -- images that are odd or damaged -----------------------------------------------------------------------------------


def test_unreadable_images_are_named_and_the_others_are_evaluated(tmp_path):
    data = small.write_data(tmp_path / "data")
    broken = [data / "val" / WNIDS[small.CLASSES[i]] / f"{WNIDS[small.CLASSES[i]]}_{i}.JPEG" for i in (1, 3)]
    broken[0].write_bytes(broken[0].read_bytes()[:-300])
    broken[1].write_bytes(b"<html>no access</html>")
    odd = data / "val" / WNIDS[7]
    cmyk = trees.photograph(1, mode="CMYK")
    disguised = trees.encoded(Image.open(io.BytesIO(trees.photograph(2))), "PNG")
    trees.write(odd, {"cmyk.JPEG": cmyk, "png.JPEG": disguised})
    settings = replace(small.settings(data, tmp_path / "results"), iterations=1)
    record = run(STAGE1, settings)
    found = record.dataset
    assert sorted(found.failed) == sorted(path.stem for path in broken)
    assert (found.required, found.expected, found.evaluated) == (50000, 11, 9)
    assert all(metric.n == 9 for metric in record.metrics)
    reasons = json.loads((directory(STAGE1, settings) / "unreadable.json").read_text())
    assert set(reasons) == set(found.failed)
    assert f"image {broken[1].stem}: {broken[1]} is corrupt: it is no JPEG or PNG file" in reasons[broken[1].stem]
    predictions = predicted(STAGE1, settings)
    assert set(predictions) == {path.stem for path in (data / "val").glob("*/*")} - set(found.failed)
    assert predictions["cmyk"].label == predictions["png"].label == 7


def predicted(name, settings):
    found = topk.load_predictions(directory(name, settings) / "predictions.json.gz")
    assert len({one.image_id for one in found}) == len(found)
    return {one.image_id: one for one in found}


def test_an_unreadable_training_image_stops_the_training_and_is_named(tmp_path):
    data = small.write_data(tmp_path / "data")
    path = data / "train" / WNIDS[small.CLASSES[0]] / f"{WNIDS[small.CLASSES[0]]}_0.JPEG"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ReproError, match=rf"image {path.stem}: .* is corrupt"):
        run(STAGE1, small.settings(data, tmp_path / "results"))


# -- real photographs -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """125 photographs of every eighth of the 1000 classes, to train on as well as to evaluate."""
    sample = SHARED / "data" / "imagenet-sample" / "val"
    if not sample.is_dir():
        pytest.skip("needs the real ImageNet sample, ../shared/data/imagenet-sample, beside the checkout")
    root = tmp_path_factory.mktemp("photographs")
    for split in ("train", "val"):
        (root / split).symlink_to(sample)
    return root


class Knowing(nn.Module):
    """Knows the true class of every image, by its pixels as torchvision's preset gives them: of any others, nothing."""

    def __init__(self, folder: ImageFolder, shift: int = 0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answers = {digest_of(image): (8 * number + shift) % 1000 for image, number in folder}

    def forward(self, x):
        if self.training:
            return {"loss_class": self.weight.sum()}
        return torch.eye(1000)[[self.answers[digest_of(image)] for image in x]]


def digest_of(image):
    return hashlib.sha256(image.numpy().tobytes()).digest()


def test_the_real_sample_is_evaluated_class_by_class_through_the_full_profile(photographs, tmp_path, monkeypatch):
    """The sample has every eighth class in the order of their wnids, so the i-th directory is class 8 i."""
    folder = ImageFolder(str(photographs / "val"), transform=ImageClassification(crop_size=224))
    assert folder.classes == list(WNIDS[::8])
    pairs = [*folder]
    for shift, right in ((0, 100.0), (1, 0.0)):
        monkeypatch.setattr(Classification, "build_network", lambda task, shift=shift: Knowing(pairs, shift))
        settings = replace(small.settings(photographs, tmp_path / str(shift)), iterations=1)
        record = run(STAGE1, settings)
        assert record.metric("top1").value == right
        assert record.dataset.failed == []
        assert predicted(STAGE1, settings).keys() == {Path(path).stem for path, _ in folder.samples}


def test_a_part_of_the_images_decides_nothing(photographs, tmp_path):
    settings = replace(small.settings(photographs, tmp_path), initial="random", iterations=1)
    record = run(BASELINE, settings)
    found = record.dataset
    assert (found.required, found.expected, found.evaluated, found.failed) == (50000, 125, 125, [])
    top1 = record.metric("top1")
    hits = round(top1.value * 125 / 100)
    assert (top1.n, top1.value) == (125, pytest.approx(100 * hits / 125))
    assert top1.standard_error == pytest.approx(100 * math.sqrt(hits / 125 * (1 - hits / 125) / 125))
    training = record.training.model_copy(update={"iterations": record.training.recipe_iterations})
    whole_recipe = record.model_copy(update={"training": training, "departures": []})
    for one in (record, whole_recipe):
        verdicts = verdicts_of(one)
        assert len(verdicts) == 4  # in both parts of the table
        assert {cell.verdict for cell in verdicts} == {"inconclusive"}
    for cell in verdicts:  # as all the other images are wrong, or right
        if cell.cell.column == "top1":
            assert (cell.low, cell.high) == pytest.approx((hits / 500, (hits + 49875) / 500))
            assert cell.standard_error == top1.standard_error


def verdicts_of(record):
    """Of the cells of Table 4 that were measured."""
    cells = judgement.verify(paper.load(4), [record], {}, tolerances.load()).cells
    return [one for one in cells if one.experiment == record.experiment and one.cell.column in ("top1", "top5")]


# -- numerics ---------------------------------------------------------------------------------------------------------


def log_of(name, settings):
    lines = (directory(name, settings) / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["losses"]["loss_class"] for line in lines]


def test_bfloat16_is_recorded_and_trains_about_the_same(whole, tmp_path):
    settings = replace(whole[0], results=tmp_path, precision="bf16-mixed")
    record = run(STAGE1, settings)
    assert record.departures == ["precision bf16-mixed instead of float32"]
    assert record.numerics["precision"] == "bf16-mixed"
    assert record.key != by_name(whole[0])[STAGE1].key
    one, other = log_of(STAGE1, settings), log_of(STAGE1, whole[0])
    assert one != other
    assert one[:2] == pytest.approx(other[:2], rel=0.02)
    state = torch.load(directory(STAGE1, settings) / "weights.pt", weights_only=True)
    assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
    assert all(math.isfinite(value) for value in one)


def test_a_compiled_network_has_the_same_weights_by_name_and_about_the_same_losses(whole, tmp_path, monkeypatch):
    """Traced by torch.compile, without the code that it makes for a device, which takes minutes."""
    compiled = []
    original = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module: compiled.append(module) or original(module, backend="eager")
    )
    settings = replace(whole[0], results=tmp_path, compile=True)
    record = run(STAGE1, settings)
    assert compiled
    assert record.numerics["compiled"] is True
    assert record.key != by_name(whole[0])[STAGE1].key
    assert log_of(STAGE1, settings)[:2] == pytest.approx(log_of(STAGE1, whole[0])[:2], rel=1e-4)
    ours, theirs = (
        torch.load(directory(STAGE1, one) / "weights.pt", weights_only=True) for one in (settings, whole[0])
    )
    assert ours.keys() == theirs.keys()


def test_images_decoded_where_the_network_is_train_the_same_and_are_recorded(whole, tmp_path, monkeypatch):
    """As on a GPU, but that libjpeg-turbo decodes there, too: the same weights, by another key."""
    monkeypatch.setattr(execution, "check_arithmetic", lambda *_: None)
    settings = replace(whole[0], results=tmp_path, decode_on="gpu")
    record = run(STAGE1, settings)
    (departure,) = record.departures
    assert departure.startswith("training images decoded by nvJPEG and resized on the GPU: ")
    assert departure.endswith(" by 0.000 of 255 on average, 0 at most")
    usual = by_name(whole[0])[STAGE1]
    assert record.key != usual.key
    assert record.weights.sha256 == usual.weights.sha256
    assert log_of(STAGE1, settings) == log_of(STAGE1, whole[0])


def test_passes_that_are_replayed_train_the_same_and_are_recorded(whole, tmp_path, monkeypatch):
    """As on a GPU, but that operators are repeated one by one (`recorded_operators`): the same weights, another key."""
    monkeypatch.setattr(execution, "check_arithmetic", lambda *_: None)
    monkeypatch.setattr(graphs, "Recorder", recorded_operators.Recorder)
    settings = replace(whole[0], results=tmp_path, cuda_graphs=True)
    record = run(STAGE1, settings)
    assert record.numerics["trained_with_cuda_graphs"] is True
    assert record.departures == []
    usual = by_name(whole[0])[STAGE1]
    assert "trained_with_cuda_graphs" not in usual.numerics
    assert record.key != usual.key
    assert record.weights.sha256 == usual.weights.sha256
    assert log_of(STAGE1, settings) == log_of(STAGE1, whole[0])


def test_channels_last_is_recorded_and_resumed(whole, tmp_path, monkeypatch):
    """As on a GPU, carried out on the CPU."""
    monkeypatch.setattr(Classification, "choose_memory_format", lambda task, fabric: torch.channels_last)
    settings, interrupted = (replace(whole[0], results=tmp_path / name) for name in ("whole", "interrupted"))
    record = run(STAGE1, settings)
    assert record.numerics["channels_last"] is True
    assert log_of(STAGE1, settings)[:2] == pytest.approx(log_of(STAGE1, whole[0])[:2], rel=1e-5)

    def stop(stage, done, total, at=None):
        if (stage, done) == ("training", 7):
            raise Interrupted

    with pytest.raises(Interrupted):
        run(STAGE1, interrupted, stop)
    run(STAGE1, interrupted)
    weights, log = (files(one, STAGE1) for one in (settings, interrupted))
    assert weights[STAGE1, "log.jsonl"] == log[STAGE1, "log.jsonl"]
    assert weights[STAGE1, "predictions.json.gz"] == log[STAGE1, "predictions.json.gz"]


# -- weights of others ------------------------------------------------------------------------------------------------


def peer() -> PeerResNet:
    """torchvision's network, as narrow as the experiments here."""
    blocks, width = small.BACKBONE["blocks"], small.BACKBONE["width"]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = PeerResNet(PeerBottleneck, list(blocks))
        network.conv1, network.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        network.inplanes = width
        for i, count in enumerate(blocks):
            layer = network._make_layer(PeerBottleneck, width * 2**i, count, stride=2 if i else 1)
            setattr(network, f"layer{i + 1}", layer)
        network.fc = nn.Linear(32 * width, 1000)
    return network.eval()


def published(file: Path, id_: str, format: str, experiment: str, **more) -> CheckpointEntry:
    return CheckpointEntry(
        id=id_, source="someone/zoo", format=format, urls=[{"url": "https://one.example/f.pth"}],
        sha256=hashlib.sha256(file.read_bytes()).hexdigest()[:8], reported={"top1": 76.13},
        serves=[{"experiment": experiment, "match": "near", "differs": "one stage of 90 epochs"}], **more,
    )  # fmt: skip


@pytest.mark.parametrize(("format", "interpolation"), [("torchvision", "bilinear"), ("timm", "bicubic")])
def test_public_weights_are_evaluated_as_their_publisher_did_and_decide_nothing(
    data, tmp_path, monkeypatch, format, interpolation
):
    file, id_ = tmp_path / "public.pth", f"{format}/small"
    torch.save(peer().state_dict(), file)
    monkeypatch.setattr(
        registry, "load", lambda: Registry((published(file, id_, format, BASELINE),), Path("checkpoints.yaml"))
    )
    settings = replace(small.settings(data, tmp_path / "results"), micro_batch=None, source="checkpoint")
    settings = replace(settings, weights=f"{id_}={file}")
    record = run(BASELINE, settings)
    checkpoint = record.weights.checkpoint
    assert (checkpoint.id, checkpoint.match, checkpoint.format, checkpoint.verified) == (id_, "near", format, True)
    assert (record.training, record.seed, checkpoint.reported) == (None, 0, {"top1": 76.13})
    assert record.deviations == [
        f"not the paper's training: {id_}: one stage of 90 epochs",
        f"inputs as their publisher's: short side 256 by pillow ({interpolation}), crop 224, RGB",
    ]
    preset = ImageClassification(crop_size=224, interpolation=InterpolationMode(interpolation))
    folder = ImageFolder(str(data / "val"), transform=preset)
    found = saved_predictions(settings)
    assert len(found) == len(folder) == 9
    for (image, number), (path, _) in zip(folder, folder.samples, strict=True):
        with torch.inference_mode():
            values, classes = peer()(image[None])[0].topk(5)
        one = found[Path(path).stem]
        assert one.classes == classes.tolist()
        assert one.logits == pytest.approx(values.tolist(), abs=1e-5)
        assert WNIDS[one.label] == folder.classes[number]
    complete = record.model_copy(
        update={"dataset": record.dataset.model_copy(update={"expected": 50000, "evaluated": 50000})}
    )
    for one in (record, complete):
        verdicts = verdicts_of(one)
        assert {cell.verdict for cell in verdicts} == {"inconclusive"}
        assert {cell.reason for cell in verdicts} == {f"not the paper's training but weights near it: {id_}"}


def saved_predictions(settings):
    (path,) = settings.results.glob("runs/*/predictions.json.gz")
    assert json.loads(gzip.decompress(path.read_bytes()))
    return {one.image_id: one for one in topk.load_predictions(path)}


def test_squeeze_and_excitation_weights_of_timm_stand_for_the_row_of_senet(data, tmp_path, monkeypatch):
    name, file = "imagenet-r50-avg-scale", tmp_path / "se.pth"
    backbone = experiments.get(name).network.backbone
    sites = [["c2", None], ["c3", None], ["c4", None], ["c5", None]]  # timm's has a block in c2, too
    everywhere = replace(backbone.context, block=SE, sites=tuple(map(tuple, sites)))
    torch.manual_seed(2)
    network = ResNet(replace(backbone, context=everywhere), 1000).eval()
    for key, value in network.named_parameters():
        if "channel_mul_conv.3" in key:
            nn.init.normal_(value, 0, 0.5)
    names = {"context_block.channel_mul_conv.0": "se.fc1", "context_block.channel_mul_conv.3": "se.fc2"}
    state = {key.rpartition(".")[::2]: value for key, value in network.state_dict().items()}
    theirs = {}
    for (module, kind), value in state.items():
        for own, other in names.items():
            module = module.replace(own, other)
        theirs[f"{module}.{kind}"] = value
    torch.save(theirs, file)
    context = {"block": asdict(SE), "sites": sites}
    entry = published(file, "timm/small-se", "timm", name, network={"backbone": {"context": context}})
    monkeypatch.setattr(registry, "load", lambda: Registry((entry,), Path("checkpoints.yaml")))
    settings = replace(small.settings(data, tmp_path / "results"), micro_batch=None, source="checkpoint")
    record = run(name, replace(settings, weights=f"timm/small-se={file}"))
    assert record.weights.checkpoint.match == "near"
    preset = ImageClassification(crop_size=224, interpolation=InterpolationMode.BICUBIC)
    found = saved_predictions(settings)
    folder = ImageFolder(str(data / "val"), transform=preset)
    for (image, _), (path, _) in zip(folder, folder.samples, strict=True):
        with torch.inference_mode():
            values = network(image[None])[0].topk(5).values
        assert found[Path(path).stem].logits == pytest.approx(values.tolist(), abs=1e-5)


def test_another_file_under_a_public_id_is_refused(data, tmp_path, monkeypatch):
    file, other = tmp_path / "public.pth", tmp_path / "other.pth"
    torch.save(peer().state_dict(), file)
    torch.save({**peer().state_dict(), "fc.bias": torch.ones(1000)}, other)
    entry = published(file, "torchvision/small", "torchvision", BASELINE)
    monkeypatch.setattr(registry, "load", lambda: Registry((entry,), Path("checkpoints.yaml")))
    settings = replace(small.settings(data, tmp_path / "results"), micro_batch=None, source="checkpoint")
    sha256 = hashlib.sha256(other.read_bytes()).hexdigest()
    with pytest.raises(ReproError, match=rf"is not torchvision/small: its sha256 is {sha256}, not {entry.sha256}"):
        run(BASELINE, replace(settings, weights=f"torchvision/small={other}"))
    assert settings.store.all() == []
