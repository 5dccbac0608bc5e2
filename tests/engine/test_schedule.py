import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from repro.engine.schedule import compute_learning_rate, count_iterations, count_iterations_per_epoch
from repro.experiments import Recipe, get
from repro.experiments.kinetics import RECIPES

COCO = get("coco-r50-baseline").recipe
IMAGENET = get("imagenet-r50-gc-r16").recipe
#: Images of COCO train2017 with annotations; mmdetection prints "7330 iterations" for them in batches of 16.
COCO_EPOCH = 7330


def test_coco_epoch_has_mmdetections_number_of_iterations():
    assert count_iterations_per_epoch(117266, 16) == COCO_EPOCH
    assert count_iterations(COCO, COCO_EPOCH) == 87960
    assert count_iterations_per_epoch(16, 16) == 1
    assert count_iterations_per_epoch(17, 16) == 2


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (0, 0.02 / 3),
        (1, 0.02 / 3 + 0.04 / 3 / 500),
        (250, 0.02 * 2 / 3),
        (499, 0.02 - 0.04 / 3 / 500),
        (500, 0.02),
        (8 * COCO_EPOCH - 1, 0.02),
        (8 * COCO_EPOCH, 0.002),
        (11 * COCO_EPOCH - 1, 0.002),
        (11 * COCO_EPOCH, 0.0002),
        (12 * COCO_EPOCH - 1, 0.0002),
    ],
)
def test_coco_1x(iteration, rate):
    assert compute_learning_rate(COCO, iteration, COCO_EPOCH) == pytest.approx(rate, rel=1e-12)


def test_coco_1x_against_mmcvs_formula():
    """mmcv writes the warm-up as rate * (1 - (1 - i / n) * (1 - factor)); the steps are a power of 0.1."""
    for iteration in range(0, 87960, 37):
        expected = 0.02 * 0.1 ** sum(iteration // COCO_EPOCH >= step for step in (8, 11))
        if iteration < 500:
            expected *= 1 - (1 - iteration / 500) * (1 - 1 / 3)
        assert compute_learning_rate(COCO, iteration, COCO_EPOCH) == pytest.approx(expected, rel=1e-12)


def test_imagenet_cosine_reaches_zero():
    per_epoch = count_iterations_per_epoch(1281167, 512)
    total = 40 * per_epoch
    assert compute_learning_rate(IMAGENET, 0, per_epoch) == 0.02
    assert compute_learning_rate(IMAGENET, total // 2, per_epoch) == pytest.approx(0.01)
    assert compute_learning_rate(IMAGENET, total // 4, per_epoch) == pytest.approx(0.02 * math.cos(math.pi / 8) ** 2)
    assert compute_learning_rate(IMAGENET, total, per_epoch) == pytest.approx(0, abs=1e-18)


def test_warmup_in_epochs_multiplies_the_cosine():
    recipe = Recipe(4, 8, 0.1, "cosine", "none", warmup_epochs=2, warmup_factor=0.5)
    cosine = [0.05 * (1 + math.cos(math.pi * i / 40)) for i in range(40)]
    expected = [rate * (0.5 + i / 40 if i < 20 else 1) for i, rate in enumerate(cosine)]
    assert [compute_learning_rate(recipe, i, 10) for i in range(40)] == pytest.approx(expected)


def test_a_straight_warmup_ends_on_the_cosine():
    """`get_lr_at_epoch` of [6], written anew: 196 epochs, 34 of warm-up from 0.01, by iterations within epochs."""
    recipe = RECIPES["196"]
    per_epoch = count_iterations_per_epoch(234_619, 64)
    for iteration in range(0, 196 * per_epoch, 1234):
        epoch = iteration / per_epoch
        expected = 0.05 * (1 + np.cos(np.pi * epoch / 196))
        if epoch < 34:
            slope = (0.05 * (1 + np.cos(np.pi * 34 / 196)) - 0.01) / 34
            expected = 0.01 + epoch * slope
        assert compute_learning_rate(recipe, iteration, per_epoch) == pytest.approx(expected, rel=1e-9)


def test_a_straight_warmup_that_a_training_does_not_reach_the_end_of():
    recipe = Recipe(196, 64, 0.1, "cosine", "none", warmup_epochs=34, warmup_factor=0.1, warmup="line", iterations=5)
    rates = [compute_learning_rate(recipe, i, 100) for i in range(5)]
    assert rates[0] == pytest.approx(0.01)
    assert all(0.009 < later < earlier for earlier, later in pairwise(rates)), rates


def test_the_recipe_of_networks_from_imagenet_weights_has_two_steps_and_no_warmup():
    """SOLVER of `configs/Kinetics/I3D_8x8_R50_IN1K.yaml` of [6]."""
    recipe = RECIPES["118"]
    rates = [compute_learning_rate(recipe, epoch * 10, 10) for epoch in (0, 43, 44, 87, 88, 117)]
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001])
    assert count_iterations(recipe, 10) == 1180


def test_iterations_cut_the_steps_short_and_end_the_cosine():
    step = Recipe(12, 8, 0.1, "step", "none", decay_epochs=(1,), iterations=15)
    assert count_iterations(step, 10) == 15
    assert [compute_learning_rate(step, i, 10) for i in (9, 10, 14)] == pytest.approx([0.1, 0.01, 0.01])
    cosine = Recipe(12, 8, 0.1, "cosine", "none", iterations=20)
    assert compute_learning_rate(cosine, 10, 100) == pytest.approx(0.05)


def test_schedule_imports_no_torch():
    script = "import sys, repro.engine.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
