"""What both engines do by the specification and the conventions: proposals, targets, and what a loss is a mean of."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest
import torch
from torch import nn

from repro.detection import engines
from repro.detection.mask_targets import crop
from repro.experiments import EXPERIMENTS, Backbone, Detector
from repro.experiments.conventions import AUTHORS, CONTINUOUS, DETECTRON2, MMDETECTION_1, MMDETECTION_2, TORCHVISION

pytestmark = pytest.mark.rounding

DETECTRON2_ENGINE = pytest.param(
    "detectron2",
    marks=pytest.mark.skipif(
        importlib.util.find_spec("detectron2") is None,
        reason="Detectron2 is not installed: `nox -s tests-detectron2` installs it and runs these tests",
    ),
)


@pytest.fixture(params=["torchvision", DETECTRON2_ENGINE])
def engine(request) -> str:
    return request.param


def build(engine: str, spec: Detector, *conventions) -> nn.Module:
    torch.manual_seed(0)
    model = engines.build(engine, spec, *conventions)
    model.generator.manual_seed(0)
    return model


def compute_losses(model: nn.Module, samples: list) -> dict[str, float]:
    return {name: term.item() for name, term in model(samples).items()}


# -- proposals --------------------------------------------------------------------------------------------------------


def count_proposals(engine: str, conventions, sample, training: bool) -> int:
    """RoIs that reach the box head: of a network with the full specification's numbers, on a large image of noise."""
    spec = Detector(Backbone(blocks=(1, 1, 1, 1), width=4), num_classes=3, fpn_channels=8, box_channels=8)
    model = build(engine, spec, conventions).train(training)
    counted = []
    if engine == "torchvision":
        model.rpn.register_forward_hook(lambda _, inputs, outputs: counted.append(len(outputs[0][0])))
    else:
        model.rcnn.proposal_generator.register_forward_hook(
            lambda _, inputs, outputs: counted.append(len(outputs[0][0]))
        )
    for name, parameter in model.named_parameters():
        if "rpn." in name or "proposal_generator." in name:  # scores of noise, boxes of the anchors
            nn.init.zeros_(parameter) if parameter.shape[0] == 12 else nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        model([sample])
    return counted[0]


@pytest.mark.parametrize(
    ("conventions", "test"),
    [(None, 2000), (MMDETECTION_1, 2000), (MMDETECTION_2, 1000), (TORCHVISION, 1000), (DETECTRON2, 1000)],
)
def test_proposals_that_reach_the_heads(engine, make_sample, conventions, test):
    """2000 in training and test, as in the authors' repository; 1000 at test where the publisher's code has so many."""
    sample = make_sample((320, 416))
    assert count_proposals(engine, conventions, sample, training=False) == test
    assert count_proposals(engine, conventions, sample, training=True) == 2000


def test_fewer_proposals_than_the_publisher_has_stay_fewer():
    assert TORCHVISION.limit_proposals(24) == 24
    assert AUTHORS.limit_proposals(5000) == 5000


def test_registry_says_where_a_file_of_mmdetection_1_is_tested_with_1000():
    """The authors' files share the format; mmdetection's own zoo states what it reached with 1000."""
    from repro.checkpoints import registry

    network = EXPERIMENTS["coco-r50-baseline"].network
    for entry in registry.load().entries:
        if entry.format == "mmdetection1":
            expected = (2000, 1000) if entry.id.startswith("mmdetection1/") else (2000, 2000)
            adapted = entry.adapt_network(network)
            assert (adapted.proposals, adapted.proposals_per_level) == (expected, expected)


# -- targets ----------------------------------------------------------------------------------------------------------


def test_conventions_follow_the_specification(engine, spec):
    assert build(engine, replace(spec, pixels="inclusive")).conventions == AUTHORS
    assert build(engine, replace(spec, pixels="continuous")).conventions == CONTINUOUS
    assert build(engine, spec, MMDETECTION_2).conventions == MMDETECTION_2


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("pixels", ["inclusive", "continuous"])
def test_masks_are_cropped_as_the_specification_says(engine, spec, make_sample, monkeypatch, pixels, cascade):
    asked = []

    def spy(*arguments):
        asked.append(arguments[-1])
        return crop(*arguments)

    module = "roi" if engine == "torchvision" else "detectron2.heads"
    monkeypatch.setattr(f"repro.detection.{module}.crop", spy)
    compute_losses(build(engine, replace(spec, pixels=pixels, cascade=cascade)), [make_sample()])
    assert asked == [pixels == "inclusive"] * (3 if cascade else 1)


# -- means ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cascade", [False, True])
def test_losses_are_means_over_the_images_of_a_group(engine, spec, make_sample, cascade):
    """Three images in groups of two are as two passes, of two images and of one; everything is sampled, norms fixed."""
    spec = replace(
        spec,
        backbone=replace(spec.backbone, norm="frozen"),
        cascade=cascade,
        roi_samples=10**6,
        rpn_samples=10**6,
        images_per_loss=2,
    )
    samples = [
        make_sample((96, 96), seed=1),
        make_sample((96, 96), ((5, 5, 60, 60),), (1,), seed=2),
        make_sample((96, 96), ((30, 20, 50, 90),), (0,), seed=3),
    ]
    model = build(engine, spec)
    first, second = (compute_losses(model, part) for part in (samples[:2], samples[2:]))
    grouped = compute_losses(model, samples)
    assert list(grouped) == list(first)
    for name, value in grouped.items():
        assert value == pytest.approx(2 / 3 * first[name] + 1 / 3 * second[name], rel=1e-4), name
    together = compute_losses(build(engine, replace(spec, images_per_loss=None)), samples)
    assert any(grouped[name] != pytest.approx(value, rel=1e-3) for name, value in together.items())
