"""The video task through `measure`: the mini profile shortened, damaged videos, interruptions, what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from repro import tasks
from repro.data import clips
from repro.data.miniature import content
from repro.data.miniature import kinetics as miniature
from repro.errors import ReproError
from repro.evaluation import multiview
from repro.experiments import get, mini, preprocessing
from repro.measuring.execution import Execution
from repro.measuring.measure import measure
from repro.models.resnet import ResNet
from repro.planning import keys
from repro.planning.work_order import order_work
from repro.settings import Settings
from repro.tasks.video import DROPOUT, ClipClassifier, MultiViewEvaluation

pytestmark = pytest.mark.rounding

NAME = "kinetics-r50-5gc"


@pytest.fixture(scope="module")
def small():
    """24 + 12 videos, two iterations of pre-training, three of training."""
    patch = pytest.MonkeyPatch()
    videos = replace(mini.kinetics.VIDEOS, train_videos=24, val_videos=12, images=16)
    pretraining = mini.kinetics.PRETRAINING
    pretraining = replace(pretraining, recipe=replace(pretraining.recipe, batch_size=4, iterations=2))
    for module in (mini.kinetics, miniature):
        patch.setattr(module, "VIDEOS", videos)
    patch.setattr(mini.kinetics, "PRETRAINING", pretraining)
    patch.setattr(mini.kinetics, "DATASET_KEY", "0" * 64)
    patch.setattr(mini.kinetics, "CONTENT", ANY)
    shrink = mini.kinetics.shrink
    short = {"iterations": 3, "batch_size": 4, "warmup_iterations": 1}
    patch.setattr(mini.kinetics, "shrink", lambda e: replace(shrink(e), recipe=replace(shrink(e).recipe, **short)))
    patch.setattr(MultiViewEvaluation, "shard", 5)
    yield
    patch.undo()


def measured(settings, progress=lambda stage, done, total, at=None: None):
    return measure(order_work(NAME, settings), command="test", progress=progress)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    settings = Settings(results=tmp_path_factory.mktemp("whole"))
    return settings, measured(settings)


def run_of(settings):
    return keys.training_directory(mini.get_at_profile(NAME, "mini"), settings)


def test_the_record_says_what_was_evaluated_and_how(whole):
    _, record = whole
    assert (record.evaluator, record.dataset.name) == ("repro multi-view 1", "mini-kinetics-val")
    assert (record.dataset.required, record.dataset.expected, record.dataset.evaluated) == (12, 12, 12)
    assert {metric.name for metric in record.metrics} == {"top1", "top5"}
    top1 = record.metric("top1")
    share = top1.value / 100
    assert top1.standard_error == pytest.approx(100 * (share * (1 - share) / 12) ** 0.5)
    assert record.weights.origin == "trained here from the mini profile's shared network"
    assert record.numerics["channels_last"] is True


def test_the_scores_of_every_view_are_kept_and_give_the_metrics(whole):
    settings, record = whole
    found = multiview.load_scores(run_of(settings) / "predictions.scores.gz", record.predictions_sha256)
    assert [one.views.shape for one in found] == [(3, 8)] * 12
    assert found[0].views.dtype == np.float16
    means = np.stack([one.views.astype(float).mean(axis=0) for one in found])
    assert record.metric("top1").value == pytest.approx(
        100 * np.mean([mean.argmax() == one.label for mean, one in zip(means, found, strict=True)])
    )


@pytest.mark.parametrize("stop", [("pre-training", 1), ("training", 2), ("evaluation", 7)], ids=lambda stop: stop[0])
def test_interrupted_anywhere_the_end_is_the_same(whole, tmp_path, stop):
    class Interrupted(Exception):
        pass

    def interrupt(stage, done, total, at=None):
        if (stage, done) == stop:
            raise Interrupted

    settings = Settings(results=tmp_path)
    with pytest.raises(Interrupted):
        measured(settings, interrupt)
    seen = []
    again = measured(settings, lambda stage, done, total, at=None: seen.append((stage, done)))
    _, record = whole
    assert (again.key, again.weights.sha256, again.predictions_sha256) == (
        record.key, record.weights.sha256, record.predictions_sha256,
    )  # fmt: skip
    assert again.metrics == record.metrics
    if stop[0] == "evaluation":  # the first shard of five was whole
        assert [done for stage, done in seen if stage == "evaluation"] == [6, 7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("damage", [b"", b"no video at all" * 10, None], ids=["empty", "text", "truncated"])
def test_a_damaged_video_is_named_and_counted(whole, tmp_path, monkeypatch, damage):
    """One of Kinetics, that is: a generated one is refused before."""
    import shutil

    first, _ = whole
    shutil.copytree(first.results, tmp_path / "results", ignore=shutil.ignore_patterns("records", "predictions*"))
    settings = Settings(results=tmp_path / "results")
    videos = sorted((settings.results / "data").rglob("val/**/*.mp4"))
    videos[3].write_bytes(videos[3].read_bytes()[:900] if damage is None else damage)
    with pytest.raises(ReproError, match="1 of 36 files were changed"):
        measured(settings)
    monkeypatch.setattr(content, "check", lambda *_: None)
    again = measured(settings)
    assert again.dataset.failed == [videos[3].stem]
    assert (again.dataset.required, again.dataset.expected, again.dataset.evaluated) == (12, 12, 11)
    assert {metric.n for metric in again.metrics} == {11}


def test_nothing_is_measured_twice(whole, monkeypatch):
    settings, record = whole
    monkeypatch.setattr(Execution, "acquire", lambda _: pytest.fail("measured again"))
    assert measured(settings) == record


def test_the_inflated_network_begins_as_the_image_network_without_its_last_layer(small):
    """Features of a clip that repeats one frame are those of the frame, context blocks and all."""
    task = tasks.task_for(mini.get_at_profile(NAME, "mini"), Settings(results=None))
    torch.manual_seed(0)
    flat = miniature_tagger()
    model = task.build_network()
    *_, shared = mini.list_pretrainings(task.experiment)  # the network that starts from the flat one
    task.start_from(model, flat.state_dict(), shared)
    model.eval()
    frame = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        still = model.features(frame[:, :, None].expand(-1, -1, 8, -1, -1))["c5"]
        alone = flat.features(frame)["c5"]
    assert (still - alone[:, :, None]).abs().max() < 1e-5 * alone.abs().max()


def miniature_tagger():
    from repro.data.miniature.coco import Tagger

    spec = mini.kinetics.PRETRAINING.network
    model = Tagger(spec.backbone, spec.num_classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def test_features_are_dropped_in_training_alone_and_as_the_generator_says(small):
    network = mini.kinetics.shrink(get("kinetics-r50-baseline")).network
    torch.manual_seed(0)
    model = ClipClassifier(network, mini.kinetics.PREPROCESSING)
    assert model.dropout == DROPOUT == 0.5
    batch = clips.collate([clips.ClipSample(torch.randint(0, 256, (1, 3, 8, 56, 56), dtype=torch.uint8), "a", 3)] * 2)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(model(batch)["loss_class"].item())
    assert losses[0] == losses[1] != losses[2]
    model.eval()
    inputs = clips.normalise(batch.clips[:, 0], mini.kinetics.PREPROCESSING)
    with torch.no_grad():
        assert torch.equal(model(inputs), model(inputs))


def test_views_go_through_the_network_in_parts_that_change_nothing(small):
    torch.manual_seed(0)
    model = ClipClassifier(mini.kinetics.shrink(get(NAME)).network, mini.kinetics.PREPROCESSING).eval()
    data = SimpleNamespace(preprocessing=mini.kinetics.PREPROCESSING)
    views = torch.randint(0, 256, (7, 3, 8, 56, 56), dtype=torch.uint8)
    evaluation, fabric = MultiViewEvaluation(model, data), Fabric(accelerator="cpu", devices=1)
    together = evaluation._score(clips.ClipSample(views, "a", 0), fabric).views
    evaluation.views = 2
    apart = evaluation._score(clips.ClipSample(views, "a", 0), fabric).views
    np.testing.assert_allclose(together, apart, atol=1e-3)
    np.testing.assert_allclose(together.astype(float).sum(axis=1), 1, atol=5e-3)


def test_a_view_is_scored_by_the_mean_softmax_of_its_windows():
    """`ResNetBasicHead` of [6] at 256 pixels: a pooling of 7 x 7 of the 8 x 8 cells, then `fc` and the softmax."""
    torch.manual_seed(0)
    whole = get("kinetics-r50-baseline").network
    network = replace(whole, num_classes=6, backbone=replace(whole.backbone, width=4, blocks=(1, 1, 1, 1)))
    model = ClipClassifier(network, preprocessing.CLIPS_TRAINED_HERE).eval()
    views = torch.randint(0, 256, (3, 3, 2, 256, 256)) * torch.linspace(0, 1, 256) ** 4
    torch.nn.init.normal_(model.fc.weight, std=0.5)
    with torch.no_grad():
        c5 = model.features(clips.normalise(views, model.inputs))["c5"].double().numpy()
    assert c5.shape == (3, 128, 2, 8, 8)
    weight, bias = (parameter.detach().double().numpy() for parameter in model.fc.parameters())
    expected = np.zeros((3, 6))
    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        logits = c5[:, :, :, top : top + 7, left : left + 7].mean((2, 3, 4)) @ weight.T + bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        expected += powers / powers.sum(1, keepdims=True) / 4

    def score(inputs):
        fabric = Fabric(accelerator="cpu", devices=1)
        evaluation = MultiViewEvaluation(model, SimpleNamespace(preprocessing=inputs))
        return evaluation._score(clips.ClipSample(views, "a", 0), fabric).views.astype(float)

    np.testing.assert_allclose(score(preprocessing.CLIPS_TRAINED_HERE), expected, atol=1e-3)
    # Networks of other publishers pool over the whole map.
    assert np.abs(score(replace(preprocessing.CLIPS_TRAINED_HERE, window=None)) - expected).max() > 2e-3


def test_the_full_profile_is_that_of_slowfasts_code(tmp_path):
    """`I3D_8x8_R50_IN1K.yaml` with the defaults of [6]'s code; the frames of a clip are a reading."""
    settings = Settings(results=tmp_path, profile="full", data_root=tmp_path)
    task = tasks.task_for(get(NAME), settings)
    inputs = task.inputs
    assert (inputs.frames, inputs.stride, inputs.clips, inputs.crops, inputs.crop) == (8, 8, 10, 3, 256)
    assert (inputs.clip_starts, inputs.clip_frames, inputs.resizing, inputs.window) == (
        "fractions",
        "span",
        "floats",
        7,
    )
    assert task.training_items == 246_534
    recipe = get(NAME).recipe
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.decay_epochs) == (118, 64, 0.01, (44, 88))
    assert (recipe.weight_decay, recipe.norm_weight_decay, recipe.precise_norm) == (1e-4, 0, 200)
    assert json.dumps(recipe.initial_weights) == '"torchvision/resnet50-19c8e357"'
    other = replace(get(NAME), network=replace(get(NAME).network, clip_frames="stride"))
    assert tasks.task_for(other, settings).inputs.clip_frames == "stride"


@pytest.mark.parametrize("inflation", ["mean", "centre"])
def test_the_recipe_says_how_weights_are_inflated(inflation):
    """I3D [2] divides a kernel by its taps; [31] and [6] do, too."""
    whole = get("kinetics-r50-baseline")
    experiment = replace(
        whole,
        network=replace(whole.network, backbone=replace(whole.network.backbone, width=4)),
        recipe=replace(whole.recipe, inflation=inflation),
    )
    task = tasks.task_for(experiment, Settings(results=None, profile="full"))
    flat = ResNet(replace(experiment.network.backbone, dimensions=2), 1000)
    model = task.build_network()
    task.start_from(model, flat.state_dict(), task.experiment)
    kernel, before = model.layer3[0].conv1.weight, flat.layer3[0].conv1.weight
    taps = {"mean": [1 / 3, 1 / 3, 1 / 3], "centre": [0, 1, 0]}[inflation]
    for tap, share in enumerate(taps):
        torch.testing.assert_close(kernel[:, :, tap], before * share)


def test_the_last_layer_of_a_network_to_train_begins_as_slowfasts(tmp_path):
    """`init_weights` of [6]: N(0, 0.01) and zeros; with PyTorch's default the deviation is 0.013 at 2048 channels."""
    settings = Settings(results=tmp_path, profile="full", data_root=tmp_path)
    whole = get("kinetics-r50-baseline")
    small = replace(whole.network.backbone, width=4)
    layer = tasks.task_for(replace(whole, network=replace(whole.network, backbone=small)), settings).build_network().fc
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert not layer.bias.any()
