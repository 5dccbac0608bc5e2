"""Counting: exact integers, two independent counters, the paper's weights by hand, composition, cache, command."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
import typer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50
from torchvision.ops import DeformConv2d
from typer.testing import CliRunner

from repro import complexity, experiments, paper
from repro.cli.complexity import command
from repro.complexity import COUNTER, count, count_experiment, networks
from repro.complexity.convention import Operations
from repro.complexity.trace import count_parameters
from repro.errors import ReproError
from repro.experiments import GC, SNL, Backbone, Classifier, Detector, Insertion, NonLocal
from repro.models import context
from repro.models.resnet import locate_context_blocks
from repro.records import Store
from repro.rendering import counts
from repro.rendering.tables import MARKS
from repro.verification import ledger

#: Exact parameter counts, found independently in closed form.
PARAMS = {
    "coco-r50-baseline": 44_400_693,
    "coco-r50-1nl": 46_500_405,
    "coco-r50-1snl": 45_451_318,
    "coco-r50-1gc": 44_534_006,
    "coco-r50-gc-r16": 46_922_434,
    "coco-r50-gc-r16-after-add": 46_922_434,
    "coco-r50-gc-r16-c3": 44_536_249,
    "coco-r50-gc-r16-c4": 45_200_571,
    "coco-r50-gc-r16-c5": 45_987_000,
    "coco-r50-snl": 64_352_322,
    "coco-r50-gc-r16-plain": 46_920_642,
    "coco-r50-gc-r16-relu": 46_920_642,
    "coco-r50-gc-r4": 54_401_602,
    "coco-r50-gc-r8": 49_415_490,
    "coco-r50-gc-r32": 45_675_906,
    "coco-r50-avg-scale": 46_908_085,
    "coco-r50-avg-add": 46_908_085,
    "coco-r50-att-scale": 46_922_434,
    "imagenet-r50-baseline": 25_557_032,
    "imagenet-r50-1nl": 27_656_744,
    "imagenet-r50-1snl": 26_607_657,
    "imagenet-r50-1gc": 25_690_345,
    "imagenet-r50-gc-r16": 28_078_773,
    "imagenet-r50-avg-scale": 28_064_424,
    "imagenet-r50-avg-add": 28_064_424,
    "imagenet-r50-att-scale": 28_078_773,
    "kinetics-r50-baseline": 32_454_096,
    "kinetics-r50-5nl": 39_812_560,
    "kinetics-r50-5snl": 36_132_309,
    "kinetics-r50-5gc": 34_300_373,
    "kinetics-r50-gc-r4": 42_455_005,
}
#: One network of each family with context blocks in their places, and one for each kind of block.
FAMILIES = [
    "coco-r50-1nl", "coco-r50-1nl-concat", "coco-r50-1snl", "coco-r50-gc-r16-after-add", "coco-r50-avg-scale",
    "coco-r101-gc-r4", "coco-x101-cascade-gc-r4", "coco-x101-dcn-cascade-gc-r16",
    "imagenet-r50-gc-r16", "imagenet-r50-avg-add",
    "kinetics-r50-5nl-gaussian", "kinetics-r50-5nl", "kinetics-r50-5nl-dot-product", "kinetics-r50-gc-r4",
]  # fmt: skip


@cache
def composed(name: str):
    return count_experiment(experiments.get(name))


def trace(network, device: str = "meta") -> tuple[Operations, int]:
    """The complete network traced, context blocks in their places: what the sum of pieces must equal."""
    model = networks.build(network, device)
    parts = networks.list_traced_parts(model, network)
    return sum((count(module, inputs).operations for module, inputs in parts), Operations()), count_parameters(model)


def small(cascade: bool = False, **backbone) -> Detector:
    """A detector of a few channels with every stage, on a 64x96 input with a few RoIs."""
    return Detector(
        Backbone(blocks=(1, 2, 2, 1), width=16, **backbone),
        num_classes=5, fpn_channels=16, box_channels=32, mask_channels=16, short_side=64, long_side=90,
        proposals=(8, 6), detections=3, cascade=cascade,
    )  # fmt: skip


def small_classifier(*size: int, **backbone) -> Classifier:
    return Classifier(Backbone(blocks=(1, 2, 2, 1), width=16, **backbone), num_classes=5, input_size=size)


# -- what is counted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARAMS)
def test_parameters_are_the_exact_integers(name):
    assert composed(name).params == PARAMS[name]


def test_baseline_of_table_2():
    found = composed("coco-r50-baseline")
    assert found.macs == pytest.approx(268.9e9, abs=0.05e9)
    assert found.input_shape == [3, 800, 1344]
    assert found.rois == {"box_head": 1000, "mask_head": 100}
    assert {"torchvision::roi_align", "torchvision::nms", "aten::upsample_nearest2d"} <= set(found.uncounted)
    assert not any("conv" in operator or "linear" in operator for operator in found.uncounted)


def test_counts_are_of_1000_rois_whatever_is_tested_with():
    """The paper's FLOPs and its AP are of different numbers of proposals."""
    for experiment in experiments.EXPERIMENTS.values():
        if isinstance(experiment.network, Detector):
            assert experiment.network.proposals == (2000, 2000)
            rois = networks.count_rois(experiment.network)
            assert {number for head, number in rois.items() if head.startswith("box")} == {1000}
    for name in ("coco-r50-gc-r16", "coco-x101-cascade-gc-r4"):
        experiment = experiments.get(name)
        fewer = replace(experiment.network, proposals=(2000, 1000), proposals_per_level=(2000, 1000))
        found, same = composed(name), count_experiment(replace(experiment, network=fewer))
        assert (found.macs, found.paper_flops) == (same.macs, same.paper_flops)


@pytest.mark.parametrize(
    ("name", "flops"),
    [("coco-r50-1nl", 288.778), ("coco-r50-gc-r16-c3", 279.499), ("imagenet-r50-baseline", 3.862)],
)
def test_operations_in_units_of_two_to_the_thirty(name, flops):
    assert composed(name).paper_flops / 2**30 == pytest.approx(flops, abs=5e-4)


def test_ratio_32_and_16_differ_by_what_no_rounding_explains():
    difference = composed("coco-r50-gc-r16").paper_flops - composed("coco-r50-gc-r32").paper_flops
    assert difference / 2**30 == pytest.approx(0.0012, abs=5e-5)


def _linear_head(channels: int, *layers: int) -> int:
    """MACs of a chain of linear layers."""
    return sum(a * b for a, b in zip((channels, *layers), layers, strict=False))


def test_heads_of_the_cascade_by_hand():
    # Three box heads on 1000 RoIs: 256 x 7 x 7 -> 1024 -> 1024 -> 81 classes and 4 deltas. Three mask heads on 100:
    # four 3x3 convolutions at 14 x 14, a transposed 2x2 of stride 2, a 1x1 to 81 masks at 28 x 28.
    box = 1000 * (_linear_head(256 * 49, 1024, 1024, 81) + 1024 * 4)
    mask = 100 * (4 * 196 * 256 * 256 * 9 + 784 * 256 * 256 + 784 * 256 * 81)
    plain_box = 1000 * (_linear_head(256 * 49, 1024, 1024, 81) + 1024 * 4 * 81)
    cascade, plain = composed("coco-x101-cascade-baseline"), composed("coco-x101-baseline")
    assert cascade.macs - plain.macs == 3 * (box + mask) - (plain_box + mask)
    assert cascade.rois == {
        "box_head_1": 1000, "box_head_2": 1000, "box_head_3": 1000,
        "mask_head_1": 100, "mask_head_2": 100, "mask_head_3": 100,
    }  # fmt: skip


def test_non_local_blocks_on_clips_by_hand():
    # (positions, channels, blocks) in res3 and res4; a fourth of the positions are keys; inner width is half.
    macs = sum(
        blocks * (2 * n * c * (c // 2) + 2 * (n // 4) * c * (c // 2) + 2 * n * (n // 4) * (c // 2))
        for n, c, blocks in ((8 * 28 * 28, 512, 2), (8 * 14 * 14, 1024, 3))
    )
    assert composed("kinetics-r50-5nl").macs - composed("kinetics-r50-baseline").macs == macs
    assert composed("kinetics-r50-5nl").input_shape == [3, 8, 224, 224]


@pytest.mark.parametrize("name", FAMILIES)
def test_sum_of_the_pieces_is_the_whole(name):
    operations, params = trace(experiments.get(name).network)
    found = composed(name)
    assert (found.macs, found.paper_flops, found.params) == (operations.macs, operations.paper_flops, params)


SMALL = {
    "r50": small(),
    "r50-gc": small(norm="sync", context=Insertion(GC)),
    "r50-nl": small(context=Insertion(NonLocal(), (("c4", -2),), "afterAdd")),
    "x101": small(groups=8, width_per_group=8),
    "x101-dcn-avg": small(
        groups=8, width_per_group=8, dcn=("c3", "c4", "c5"), context=Insertion(replace(GC, pooling="avg"))
    ),
    "cascade-dcn-gc": small(cascade=True, dcn=("c3", "c4", "c5"), context=Insertion(replace(GC, ratio=4))),
    "classification-scale": small_classifier(64, 64, context=Insertion(replace(GC, fusion="scale"))),
    "video": small_classifier(4, 64, 64, dimensions=3),
    "video-gc": small_classifier(4, 64, 64, dimensions=3, context=Insertion(GC)),
    "video-snl": small_classifier(4, 64, 64, dimensions=3, context=Insertion(SNL)),
} | {
    f"video-{kind}": small_classifier(
        4, 64, 64, dimensions=3, context=Insertion(NonLocal(kind, output_norm=True), (("c3", 1), ("c4", 1)), "afterAdd")
    )
    for kind in ("gaussian", "embedded_gaussian", "dot_product", "concat")
}


@pytest.mark.parametrize("network", SMALL.values(), ids=SMALL)
def test_meta_device_counts_what_a_real_forward_pass_counts(network):
    on_meta, on_cpu = trace(network), trace(network, "cpu")
    assert on_meta == on_cpu
    assert on_meta[0].macs > 0


def _deformable(input_shape, weight_shape, *args, out_shape, **kwargs) -> int:
    batch, _, height, width = out_shape
    out, *per_output = weight_shape
    return 2 * batch * out * height * width * per_output[0] * per_output[1] * per_output[2]


def _matrix_vector(matrix_shape, vector_shape, *args, **kwargs) -> int:
    return 2 * matrix_shape[0] * matrix_shape[1]


def _flops_of_torch(*parts: tuple[nn.Module, torch.Tensor]) -> int:
    """Twice the MACs, by torch's own counter."""
    # What it passes over in silence: deformable convolutions and products with a vector (concat).
    mapping = {torch.ops.torchvision.deform_conv2d: _deformable, torch.ops.aten.mv: _matrix_vector}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        for module, inputs in parts:
            module(inputs)
    return counter.get_total_flops()


@cache
def _base_of_torch(network) -> tuple[int, dict[str, torch.Size]]:
    model = networks.build(network)
    parts = networks.list_traced_parts(model, network)
    with torch.no_grad():
        features = getattr(model, "backbone", model).features(parts[0][1])
    return _flops_of_torch(*parts), {stage: feature.shape for stage, feature in features.items()}


@cache
def _block_of_torch(block, size: torch.Size) -> int:
    with torch.device("meta"):
        return _flops_of_torch((context.build(block, size[1], len(size) - 2).eval(), torch.zeros(size)))


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_macs_of_every_experiment_agree_with_the_counter_of_torch(name):
    network = experiments.get(name).network
    insertion, blocks = network.backbone.context, network.backbone.blocks
    flops, sizes = _base_of_torch(replace(network, backbone=replace(network.backbone, context=None)))
    if insertion is not None:
        flops += sum(
            _block_of_torch(insertion.block, sizes[stage]) for stage, _ in locate_context_blocks(insertion, blocks)
        )
    assert 2 * composed(name).macs == flops


@pytest.mark.parametrize("network", SMALL.values(), ids=SMALL)
def test_whole_networks_agree_with_the_counter_of_torch(network):
    model = networks.build(network)
    assert 2 * trace(network)[0].macs == _flops_of_torch(*networks.list_traced_parts(model, network))


def test_resnet_50_of_torchvision_counts_the_same():
    with torch.device("meta"):
        found = count(resnet50().eval(), torch.empty(1, 3, 224, 224))
    ours = composed("imagenet-r50-baseline")
    assert (found.macs, found.paper_flops, found.params) == (ours.macs, ours.paper_flops, ours.params)


# -- the weights of the paper's convention, by hand -------------------------------------------------------------------


class _Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize(
    ("layer", "shapes", "macs", "flops"),
    [
        # 8 x 5 x 6 outputs of 4 * 3 * 3 products
        (lambda: nn.Conv2d(4, 8, 3, padding=1, bias=False), [(1, 4, 5, 6)], 240 * 36, 240 * 36),
        (lambda: nn.Conv2d(4, 8, 3, padding=1), [(1, 4, 5, 6)], 240 * 36, 240 * 36 + 240),
        (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False), [(1, 4, 5, 6)], 240 * 18, 240 * 18),
        (lambda: nn.Conv2d(4, 8, 3, stride=2, bias=False), [(2, 4, 7, 7)], 2 * 72 * 36, 2 * 72 * 36),
        # 1 x 3 x 3 kernel on 2 frames
        (lambda: nn.Conv3d(4, 8, (1, 3, 3), padding=(0, 1, 1), bias=False), [(1, 4, 2, 5, 6)], 480 * 36, 480 * 36),
        # 3 x 8 x 8 = 192 outputs; 4 * 2 * 2 for each in the paper's convention, a quarter of it performed
        (lambda: nn.ConvTranspose2d(4, 3, 2, 2, bias=False), [(1, 4, 4, 4)], 192 * 4, 192 * 16),
        (lambda: nn.ConvTranspose2d(4, 3, 2, 2), [(1, 4, 4, 4)], 192 * 4, 192 * 16 + 192),
        (lambda: nn.ConvTranspose2d(4, 6, 2, 2, groups=2, bias=False), [(1, 4, 4, 4)], 384 * 2, 384 * 8),
        (lambda: nn.Conv2d(4, 8, 4, padding="same", dilation=2), [(1, 4, 5, 6)], 240 * 64, 240 * 64 + 240),
        (lambda: nn.Conv1d(4, 8, 3, padding="valid", bias=False), [(1, 4, 5)], 24 * 12, 24 * 12),
        (lambda: nn.Linear(10, 3), [(7, 10)], 210, 21 * 19),
        (lambda: nn.Linear(10, 3, bias=False), [(7, 10)], 210, 21 * 19),
        (lambda: nn.BatchNorm2d(4).eval(), [(2, 4, 5, 6)], 0, 4 * 240),
        (lambda: nn.ReLU(), [(2, 4, 5, 6)], 0, 240),
        (lambda: nn.ReLU(inplace=True), [(2, 4, 5, 6)], 0, 240),
        (lambda: nn.MaxPool2d(3, 2, 1), [(1, 4, 8, 8)], 0, 64 * 9),
        (lambda: nn.MaxPool3d((1, 2, 2)), [(1, 4, 2, 8, 8)], 0, 128 * 4),
        (lambda: nn.MaxPool2d(1, 2), [(1, 4, 8, 8)], 0, 0),
        (lambda: nn.AdaptiveAvgPool2d(1), [(1, 4, 8, 8)], 0, 256),
        (lambda: nn.AdaptiveAvgPool3d(1), [(1, 4, 2, 8, 8)], 0, 512),
        (lambda: _Function(torch.matmul), [(2, 3, 4), (2, 4, 5)], 120, 120),
        (lambda: _Function(torch.matmul), [(4,), (2, 4, 5)], 40, 40),
        (lambda: _Function(torch.bmm), [(2, 3, 4), (2, 4, 5)], 120, 120),
        (lambda: _Function(lambda x, y: torch.einsum("bij,bjk->bik", x, y)), [(2, 3, 4), (2, 4, 5)], 120, 120),
        # 5 queries of width 4, 7 keys, values of width 6
        (
            lambda: _Function(F.scaled_dot_product_attention),
            [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)],
            6 * (5 * 7 * 4 + 5 * 7 * 6),
            6 * (5 * 7 * 4 + 5 * 7 * 6),
        ),
        # 8 x 5 x 6 outputs of 2 * 3 * 3 products with sampled values
        (lambda: DeformConv2d(4, 8, 3, padding=1, groups=2, bias=False), [(1, 4, 5, 6), (1, 18, 5, 6)], 4320, 4320),
        (lambda: DeformConv2d(4, 8, 3, padding=1, groups=2), [(1, 4, 5, 6), (1, 18, 5, 6)], 4320, 4320 + 240),
        (lambda: nn.Softmax(1), [(2, 4)], 0, 0),
        (lambda: nn.Sigmoid(), [(2, 4)], 0, 0),
        (lambda: nn.LayerNorm([4]), [(2, 4)], 0, 0),
        (lambda: nn.Upsample(scale_factor=2), [(1, 4, 5, 6)], 0, 0),
        (lambda: _Function(torch.add), [(2, 4), (2, 4)], 0, 0),
    ],
)
def test_weight_of_each_operation(device, layer, shapes, macs, flops):
    with torch.device(device):
        found = count(layer(), tuple(torch.zeros(shape) for shape in shapes))
    assert (found.macs, found.paper_flops) == (macs, flops)


def test_operators_without_a_weight_are_named():
    with torch.device("meta"):
        found = count(nn.Sequential(nn.Softmax(1), nn.Linear(4, 4), nn.Sigmoid(), nn.Sigmoid()), torch.empty(2, 4))
    assert found.uncounted == {"aten::softmax": 1, "aten::sigmoid": 2}


# -- cache ------------------------------------------------------------------------------------------------------------


def test_stored_counts_are_used_again(tmp_path, monkeypatch):
    experiment = experiments.get("coco-r50-1gc")
    first = complexity.count_experiments([experiment], Store(tmp_path))
    monkeypatch.setattr(networks, "count_experiment", lambda _: pytest.fail("counted again"))
    assert (
        complexity.count_experiments([experiment], Store(tmp_path))
        == first
        == {"coco-r50-1gc": composed("coco-r50-1gc")}
    )


def test_a_count_by_another_counter_is_made_again(tmp_path):
    experiment = experiments.get("coco-r50-1gc")
    old = composed("coco-r50-1gc").model_copy(update={"counter": "another", "params": 1})
    Store(tmp_path).add_count(old)
    assert complexity.count_experiments([experiment], Store(tmp_path))["coco-r50-1gc"].params == PARAMS["coco-r50-1gc"]
    assert Store(tmp_path).counts()[experiment.spec_hash].counter == COUNTER


def test_reading_counts_imports_no_torch(tmp_path):
    for name in paper.load(5).experiments:
        Store(tmp_path).add_count(composed(name))
    script = (
        "import sys; from pathlib import Path\n"
        "from repro import complexity, experiments, paper\n"
        "from repro.rendering import counts\n"
        "from repro.records import Store\n"
        "found = complexity.count_experiments(\n"
        "    map(experiments.get, paper.load(5).experiments), Store(Path(sys.argv[1])))\n"
        "counts.render(counts.list_rows([5], found), 'md')\n"
        "assert found['kinetics-r50-baseline'].params == 32454096 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    for name in experiments.EXPERIMENTS:
        Store(directory / "records").add_count(composed(name))
    return directory


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_cell_of_table_2_matches(results):
    answer = run("--table", 2, "--json", "--results", results)
    assert answer.exit_code == 0
    rows = json.loads(answer.stdout)
    assert [row["row"] for row in rows] == [row.label for row in paper.load(2).rows]
    assert len(rows) == 28
    for row in rows:
        assert (row["params_verdict"], row["flops_verdict"]) == ("match", "match"), row
        assert abs(row["paper_flops"] / 2**30 - float(row["published_flops"][:-1])) <= 0.1
    truncated = {row["row"] for row in rows if row["params_how"] == "truncated"}
    assert truncated == {"+1 SNL", "c5"} == {row["row"] for row in rows if row["ledger"]}


def test_every_cell_of_all_tables_matches_or_stands_in_the_ledger(results):
    answer = run("--json", "--results", results)
    assert answer.exit_code == 0
    rows = json.loads(answer.stdout)
    assert [(row["table"], row["group"], row["row"]) for row in rows] == [
        (table, group.name, row.label)
        for table in (2, 3, 4, 5)
        for group in paper.load(table).groups
        for row in group.rows
    ]
    verdicts = [row[f"{column}_verdict"] for row in rows for column in ("params", "flops")]
    assert (verdicts.count("match"), verdicts.count("ledger"), verdicts.count(None)) == (41 + 63, 3, 21)
    assert sum(row["published_params"] is not None for row in rows) == 43
    assert sum(row["published_flops"] is not None for row in rows) == 64
    by_name = {(row["table"], row["group"], row["row"]): row for row in rows}
    stronger = by_name[3, "a", "X101+DCN+Cascade +GC r4"]  # Table 3 has no column of parameters
    assert (stronger["published_params"], stronger["params_verdict"]) == (None, None)
    assert (stronger["published_flops"], stronger["flops_verdict"]) == ("547.8G", "match")
    squeeze = by_name[4, "b", "avg+scale (SENet)"]
    assert squeeze["params_verdict"] == "ledger"
    assert squeeze["ledger"][0]["ours"] == squeeze["params"] == 28_064_424
    video = by_name[5, "", "+5 NL"]
    assert (video["params_verdict"], video["flops_verdict"]) == ("match", "ledger")
    assert video["paper_flops"] / 2**30 == pytest.approx(60.07, abs=0.005)


def test_two_decimals_of_kinetics_within_one_printed_digit(results):
    rows = json.loads(run("--table", 5, "--json", "--results", results).stdout)
    off = {row["row"]: row["flops_delta"] for row in rows if abs(row["flops_delta"]) > 0.01}
    assert off == {"+5 NL": pytest.approx(0.47, abs=5e-3)}


def test_every_entry_of_the_ledger_is_met_by_a_count():
    rows = counts.list_rows(counts.list_counted_tables(), {name: composed(name) for name in experiments.EXPERIMENTS})
    met = [verdict.entry for row in rows for verdict in row.verdicts.values() if verdict.entry]
    assert sorted(met, key=str) == sorted(ledger.load().entries, key=str)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("md", "| (a) +1 NL          |      46.5M |  46,500,405 ✓ |  0.000 |       288.7G | 288.778 ✓ | +0.078 |"),
        ("tex", rf" & 46.5 {{M}} & 46,500,405 {MARKS['tex']['match']} & 0.000 & 288.7 {{G}} & 288.778 "),
    ],
)
def test_formats(results, form, line):
    answer = run("--table", 2, "--format", form, "--results", results)
    assert line in answer.stdout
    assert "28 of 28 cells match (2 by truncation), 0 in the ledger, 0 off" in answer.stdout
    assert "Input 3 x 800 x 1344, 1000 RoIs through the box head, 100 RoIs through the mask head;" in answer.stdout


def test_rois_of_a_cascade_are_printed_for_each_head(results):
    answer = run("--table", 3, "--results", results)
    assert "1000 RoIs through each of 3 box heads, 100 RoIs through each of 3 mask heads;" in answer.stdout


def test_csv_holds_every_row_in_full_precision(results):
    lines = list(csv.DictReader(io.StringIO(run("--table", 2, "--format", "csv", "--results", results).stdout)))
    assert [line["params"] for line in lines] == [str(PARAMS[row.experiment]) for row in paper.load(2).rows]


def test_a_cell_that_is_off_is_named_and_fails(tmp_path):
    for name in paper.load(2).experiments:
        found = composed(name)
        if name == "coco-r50-gc-r8":
            found = found.model_copy(update={"params": 50_000_000})
        Store(tmp_path / "records").add_count(found)
    answer = run("--table", 2, "--results", tmp_path)
    assert answer.exit_code == 1
    assert answer.stderr == "off: Table 2(e), ratio 8, #param\n"


def test_a_table_without_such_columns_is_refused(tmp_path):
    answer = run("--table", 1, "--results", tmp_path)
    assert isinstance(answer.exception, ReproError)
    assert "Tables 2, 3, 4, 5 do" in str(answer.exception)
