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
import typer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50
from torchvision.ops import DeformConv2d
from typer.testing import CliRunner

from repro import complexity, experiments, ledger, paper
from repro.cli.complexity import command
from repro.complexity import COUNTER, count, count_experiment, networks, report
from repro.complexity.convention import Operations
from repro.complexity.trace import parameters
from repro.errors import ReproError
from repro.experiments import GC, Backbone, Detector, Insertion, NonLocal
from repro.records import Store
from repro.render import MARKS

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
}
SUPPORTED = [name for name, e in experiments.EXPERIMENTS.items() if complexity.unsupported(e) is None]
#: One for each kind of base network and of context block.
KINDS = [
    "coco-r50-baseline", "coco-r50-1nl", "coco-r50-1nl-gaussian", "coco-r50-1nl-dot-product", "coco-r50-1nl-concat",
    "coco-r50-1snl", "coco-r50-gc-r16", "coco-r50-gc-r16-after-add", "coco-r50-avg-scale", "imagenet-r50-gc-r16",
]  # fmt: skip


@cache
def composed(name: str):
    return count_experiment(experiments.get(name))


def whole(network, device: str = "meta") -> tuple[Operations, int]:
    """The complete network built and traced, context blocks in their places: what the sum of parts must equal."""
    with torch.device(device):
        model = networks.build(network)
    parts = networks.traceable(model, network)
    return sum((count(module, inputs) for module, inputs in parts), Operations()), parameters(model)


def small(**backbone) -> Detector:
    """A detector of a few channels with every stage, on a 64x96 input with a few RoIs."""
    return Detector(
        Backbone(blocks=(1, 2, 2, 1), width=16, **backbone),
        num_classes=5, fpn_channels=16, box_channels=32, mask_channels=16, short_side=64, long_side=90,
        proposals=(8, 6), detections=3,
    )  # fmt: skip


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


@pytest.mark.parametrize(
    ("name", "flops"),
    [("coco-r50-1nl", 288.778), ("coco-r50-gc-r16-c3", 279.499), ("imagenet-r50-baseline", 3.862)],
)
def test_operations_in_units_of_two_to_the_thirty(name, flops):
    assert composed(name).paper_flops / 2**30 == pytest.approx(flops, abs=5e-4)


def test_ratio_32_and_16_differ_by_what_no_rounding_explains():
    difference = composed("coco-r50-gc-r16").paper_flops - composed("coco-r50-gc-r32").paper_flops
    assert difference / 2**30 == pytest.approx(0.0012, abs=5e-5)


@pytest.mark.parametrize("name", ["coco-r101-gc-r4", *KINDS])
def test_sum_of_the_parts_is_the_whole(name):
    operations, params = whole(experiments.get(name).network)
    found = composed(name)
    assert (found.macs, found.paper_flops, found.params) == (operations.macs, operations.paper_flops, params)


@pytest.mark.parametrize(
    "backbone",
    [
        {},
        {"norm": "sync", "context": Insertion(GC)},
        {"context": Insertion(NonLocal(), (("c4", -2),), "afterAdd")},
        {
            "groups": 8,
            "width_per_group": 8,
            "dcn": ("c3", "c4", "c5"),
            "context": Insertion(replace(GC, pooling="avg")),
        },
    ],
    ids=["plain", "gc", "nl", "resnext-dcn"],
)
def test_meta_device_counts_what_a_real_forward_pass_counts(backbone):
    on_meta, on_cpu = whole(small(**backbone)), whole(small(**backbone), "cpu")
    assert on_meta == on_cpu
    assert on_meta[0].macs > 0


def _deformable(input_shape, weight_shape, *args, out_shape, **kwargs) -> int:
    batch, _, height, width = out_shape
    out, *per_output = weight_shape
    return 2 * batch * out * height * width * per_output[0] * per_output[1] * per_output[2]


def _matrix_vector(matrix_shape, vector_shape, *args, **kwargs) -> int:
    return 2 * matrix_shape[0] * matrix_shape[1]


def _twice_the_macs(network) -> int:
    with torch.device("meta"):
        model = networks.build(network)
    # What torch's counter passes over in silence: deformable convolutions and products with a vector (concat).
    mapping = {torch.ops.torchvision.deform_conv2d: _deformable, torch.ops.aten.mv: _matrix_vector}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        for module, inputs in networks.traceable(model, network):
            module(inputs)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", ["coco-r101-gc-r16", "coco-x101-gc-r16", "imagenet-r50-1nl", *KINDS])
def test_macs_agree_with_the_counter_of_torch(name):
    assert 2 * composed(name).macs == _twice_the_macs(experiments.get(name).network)


def test_deformable_convolutions_agree_with_the_counter_of_torch():
    network = small(dcn=("c3", "c4", "c5"))
    assert 2 * whole(network)[0].macs == _twice_the_macs(network)


def test_resnet_50_of_torchvision_counts_the_same():
    with torch.device("meta"):
        model = resnet50().eval()
        found = count(model, torch.empty(1, 3, 224, 224))
    ours = composed("imagenet-r50-baseline")
    assert (found.macs, found.paper_flops, parameters(model)) == (ours.macs, ours.paper_flops, ours.params)


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


def test_a_convolution_that_meta_tensors_cannot_trace_is_refused():
    with torch.device("meta"), pytest.raises(ReproError, match="padding 'same'"):
        count(nn.Conv2d(4, 4, 3, padding="same"), torch.empty(1, 4, 8, 8))


# -- networks of this version, cache ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coco-x101-cascade-baseline", "kinetics-r50-5nl"])
def test_a_network_that_is_not_built_yet_is_refused(name):
    with pytest.raises(ReproError, match=f"{name} cannot be counted"):
        count_experiment(experiments.get(name))


def test_stored_counts_are_used_again(tmp_path, monkeypatch):
    experiment = experiments.get("coco-r50-1gc")
    first = complexity.counts([experiment], Store(tmp_path))
    monkeypatch.setattr(networks, "count_experiment", lambda _: pytest.fail("counted again"))
    assert complexity.counts([experiment], Store(tmp_path)) == first == {"coco-r50-1gc": composed("coco-r50-1gc")}


def test_a_count_by_another_counter_is_made_again(tmp_path):
    experiment = experiments.get("coco-r50-1gc")
    old = composed("coco-r50-1gc").model_copy(update={"counter": "another", "params": 1})
    Store(tmp_path).add_count(old)
    assert complexity.counts([experiment], Store(tmp_path))["coco-r50-1gc"].params == PARAMS["coco-r50-1gc"]
    assert Store(tmp_path).counts()[experiment.spec_hash].counter == COUNTER


def test_reading_counts_imports_no_torch(tmp_path):
    Store(tmp_path).add_count(composed("coco-r50-1gc"))
    script = (
        "import sys; from pathlib import Path\n"
        "from repro import complexity, experiments\n"
        "from repro.complexity import report\n"
        "from repro.records import Store\n"
        "found = complexity.counts([experiments.get('coco-r50-1gc')], Store(Path(sys.argv[1])))\n"
        "report.text(report.rows([2], found), 'md')\n"
        "assert found['coco-r50-1gc'].params == 44534006 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    for name in SUPPORTED:
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


def test_rows_of_all_tables(results):
    rows = json.loads(run("--json", "--results", results).stdout)
    assert {row["table"] for row in rows} == {2, 3, 4, 5}
    by_name = {(row["table"], row["group"], row["row"]): row for row in rows}
    stronger = by_name[3, "a", "X101 +GC r4"]  # Table 3 has no column of parameters
    assert (stronger["published_params"], stronger["params_verdict"]) == (None, None)
    assert (stronger["published_flops"], stronger["flops_verdict"]) == ("358.2G", "match")
    squeeze = by_name[4, "b", "avg+scale (SENet)"]
    assert squeeze["params_verdict"] == "ledger"
    assert squeeze["ledger"][0]["ours"] == squeeze["params"] == 28_064_424
    video = by_name[5, "", "+5 NL"]
    assert (video["params"], video["params_verdict"]) == (None, "not run")
    assert "video" in video["params_how"]


def test_every_entry_of_the_ledger_is_met_by_a_count(results):
    rows = report.rows(report.tables(), {name: composed(name) for name in SUPPORTED})
    met = [verdict.entry for row in rows for verdict in row.verdicts.values() if verdict.entry]
    assert sorted(met, key=str) == sorted(ledger.load().entries, key=str)


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("md", "| (a) +1 NL          |      46.5M |  46,500,405 ✓ |       288.7G | 288.778 ✓ | +0.078 |"),
        ("tex", rf" & 46.5M & 46,500,405 {MARKS['tex']['match']} & 288.7G & 288.778"),
    ],
)
def test_formats(results, form, line):
    answer = run("--table", 2, "--format", form, "--results", results)
    assert line in answer.stdout
    assert "28 of 28 cells match (2 by truncation), 0 in the ledger, 0 off" in answer.stdout
    assert "1000 RoIs through the box head, 100 RoIs through the mask head" in answer.stdout


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
