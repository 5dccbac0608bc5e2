"""One module by its submodules: exact parts that add up, from the library and from the command line."""

from __future__ import annotations

import json
import sys

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

from repro import experiments
from repro.cli.complexity import command
from repro.complexity import count, count_experiment, custom, networks
from repro.complexity.tree import Counted
from repro.errors import ReproError

FILE = """
from __future__ import annotations

import sys
from dataclasses import dataclass

import beside
import torch
from torch import nn


@dataclass
class Widths:  # dataclasses look up the module that they stand in
    out: int = 8


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.head = nn.Linear(beside.WIDTH, 10)

    def forward(self, x):
        return self.head(self.convolution(x).softmax(1).mean((2, 3)))


class AsksForValues(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum().item() == 0 else x


class Two(nn.Module):
    def forward(self, a, b):
        return a @ b


class Fails(nn.Module):
    def forward(self, x):
        raise RuntimeError("on several\\n  lines")


def values():
    return AsksForValues(4, 6)


def raises():
    raise KeyError("no such thing")


def leaves():
    sys.exit(7)


def number():
    return 3


CONSTANT = 3
"""


def run(*arguments):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", list(sys.path))
    (tmp_path / "beside.py").write_text("WIDTH = 8\n")
    (tmp_path / "net.py").write_text(FILE)
    return tmp_path / "net.py"


class Attention(nn.Module):
    """A product of its own beside two submodules, of which one is called twice, and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(4, 4)
        self.out = nn.Sequential(nn.Linear(4, 2, bias=False), nn.ReLU())
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        keys, values = self.project(x), self.project(x)
        return self.out((x @ keys.transpose(1, 2)).softmax(-1) @ values * self.scale)


def lines(text: str) -> dict[str, list[str]]:
    """The lines of a tree by their first word."""
    return {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_each_module_has_its_own_part(device):
    with torch.device(device):
        found = count(Attention(), torch.zeros(3, 5, 4))
    project, out = found.children
    # 2 calls of 15 rows by 4 x 4; 15 rows by 4 x 2; two products of 5 x 4 x 5 in each of 3
    assert (project.name, project.kind, project.params, project.macs) == ("project", "Linear", 20, 2 * 15 * 16)
    assert (out.params, out.macs, out.own.macs) == (8, 15 * 8, 0)
    assert (found.own_params, found.own.macs) == (4, 2 * 3 * 100)
    assert (found.params, found.macs) == (32, 480 + 120 + 600)
    assert found.paper_flops == 2 * 60 * 7 + 30 * 7 + 30 + 600
    assert found.uncounted == {"aten::softmax": 1, "aten::mul": 1}


def test_lines_of_a_tree():
    found = count(Attention(), torch.zeros(3, 5, 4))
    assert lines(found.format_tree())["(total)"] == ["(total)", "Attention", "32", "1,200", "1,680"]
    assert lines(found.format_tree())["(itself)"] == ["(itself)", "4", "600", "600"]
    assert [line.split()[0] for line in found.format_tree(1).splitlines()][1:] == [
        "(total)",
        "project",
        "out",
        "(itself)",
    ]
    assert [line.split()[0] for line in found.format_tree().splitlines()][1:] == [
        "(total)", "project", "out", "0", "1", "(itself)",
    ]  # fmt: skip
    assert len(found.format_tree(0).splitlines()) == 2


def test_a_tree_as_data():
    data = count(Attention(), torch.zeros(3, 5, 4)).as_data(1)
    assert data["itself"] == {"params": 4, "macs": 600, "paper_flops": 600}
    assert data["children"][1] == {"name": "out", "class": "Sequential", "params": 8, "macs": 120, "paper_flops": 240}


def test_a_shared_module_stands_once():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"first": nn.Sequential(shared), "second": nn.Sequential(shared, nn.ReLU())})
    model.forward = lambda x: model["second"](model["first"](x))
    found = count(model, torch.zeros(2, 4))
    first, second = found.children
    assert (found.params, found.macs) == (20, 2 * 2 * 16)
    assert (first.macs, second.macs) == (2 * 2 * 16, 0)
    assert [child.kind for child in second.children] == ["ReLU"]


def test_a_module_that_is_not_called_performs_nothing():
    model = nn.Sequential(nn.Linear(4, 4))
    model.spare = nn.Linear(4, 4)
    model.forward = model[0].forward
    spare = next(child for child in count(model, torch.zeros(2, 4)).children if child.name == "spare")
    assert (spare.params, spare.macs) == (20, 0)


def everything(counted: Counted):
    yield counted
    for child in counted.children:
        yield from everything(child)


@pytest.mark.parametrize(
    "name", ["coco-r50-gc-r16", "coco-x101-cascade-baseline", "imagenet-r50-1nl", "kinetics-r50-5nl"]
)
def test_tree_of_an_experiment_adds_up_to_its_count(name):
    experiment = experiments.get(name)
    tree, composed = networks.count_whole(experiment.network), count_experiment(experiment)
    assert (tree.params, tree.macs, tree.paper_flops) == (composed.params, composed.macs, composed.paper_flops)
    for module in everything(tree):
        assert module.params == module.own_params + sum(child.params for child in module.children)
        assert module.macs == module.own.macs + sum(child.macs for child in module.children)
    assert set(tree.uncounted) == set(composed.uncounted) - {*networks.BETWEEN}


# -- the command ------------------------------------------------------------------------------------------------------


def test_an_experiment_by_its_modules():
    answer = run("--experiment", "coco-x101-cascade-baseline", "--depth", 3)
    assert answer.exit_code == 0
    assert "1000 RoIs through each of 3 box heads, 100 RoIs through each of 3 mask heads" in answer.stdout
    assert lines(answer.stdout)["(total)"][1:3] == ["MaskRCNN", "95,946,049"]
    assert "aten::upsample_nearest2d 3 times" in answer.stdout
    data = json.loads(run("--experiment", "coco-x101-cascade-baseline", "--depth", 3, "--json").stdout)
    assert data["experiment"] == "coco-x101-cascade-baseline"
    assert data["inputs"] == [[3, 800, 1344]]
    assert data["rois"]["mask_head_3"] == 100
    assert data["paper_flops"] / 2**30 == pytest.approx(536.968, abs=5e-4)
    assert data["uncounted"]["aten::upsample_nearest2d"] == 3
    heads = next(child for child in data["children"] if child["name"] == "roi_heads")
    assert [child["name"] for child in heads["children"][0]["children"]] == ["0", "1", "2"]
    assert sum(child["paper_flops"] for child in data["children"]) == data["paper_flops"]
    assert data["itself"] == {"params": 0, "macs": 0, "paper_flops": 0}


def test_a_module_of_ones_own(net):
    answer = run("--model", f"{net}:Net", "--input", "2x3x5x6")
    assert answer.exit_code == 0
    # 2 x 8 x 5 x 6 outputs of 27 products, 2 x 10 of 8
    assert lines(answer.stdout)["convolution"] == ["convolution", "Conv2d", "216", "12,960", "12,960"]
    assert lines(answer.stdout)["head"] == ["head", "Linear", "90", "160", "300"]
    assert "Input 2 x 3 x 5 x 6." in answer.stdout
    assert "Not counted: aten::mean 1 time, aten::softmax 1 time." in answer.stdout
    data = json.loads(run("--model", f"{net}:Net", "--input", "2x3x5x6", "--json", "--depth", 0).stdout)
    assert data == {
        "model": f"{net}:Net", "inputs": [[2, 3, 5, 6]], "uncounted": {"aten::softmax": 1, "aten::mean": 1},
        "name": "", "class": "Net", "params": 306, "macs": 13_120, "paper_flops": 13_260,
    }  # fmt: skip


def test_a_module_that_asks_for_values_is_computed(net):
    assert custom.count_file(f"{net}:values", [(2, 4)]).macs == 2 * 24


def test_several_inputs(net):
    answer = run("--model", f"{net}:Two", "--input", "2x3", "--input", "3x5", "--depth", 0, "--json")
    assert json.loads(answer.stdout)["macs"] == 30


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("raises", "1x4", "net.py:raises failed: KeyError: 'no such thing'"),
        ("leaves", "1x4", "net.py:leaves failed: SystemExit: 7"),
        ("number", "1x4", "net.py:number returned int, not a torch.nn.Module"),
        ("CONSTANT", "1x4", "has no function 'CONSTANT'"),
        ("nothing", "1x4", "has no function 'nothing'"),
        ("Fails", "1x4", "Fails cannot be traced with input 1x4: RuntimeError: on several lines"),
        ("Net", "1x4x8x8", "Net cannot be traced with input 1x4x8x8: .* to have 3 channels, but got 4"),
        ("Net", "1x3", "Net cannot be traced with input 1x3: "),
        ("Two", "1x4", "Two cannot be traced with input 1x4: .* missing 1 required positional argument"),
        ("Net", "1x3x0x4", "--input '1x3x0x4' is no shape"),
        ("Net", "1,3,4,4", "--input '1,3,4,4' is no shape"),
        ("Net", "", "--input '' is no shape"),
    ],
)
def test_what_is_wrong_with_a_module_is_said_in_one_line(net, name, shape, message):
    answer = run("--model", f"{net}:{name}", "--input", shape)
    assert isinstance(answer.exception, ReproError)
    assert "\n" not in str(answer.exception)
    with pytest.raises(ReproError, match=message):
        raise answer.exception


@pytest.mark.parametrize(
    ("reference", "content", "message"),
    [
        ("net.py", None, "write FILE.py:FACTORY"),
        (":build", None, "write FILE.py:FACTORY"),
        ("nowhere.py:build", None, "there is no file .*nowhere.py"),
        ("notes.txt:build", "text", "notes.txt is no Python file"),
        ("broken.py:build", "def build(:", "broken.py cannot be imported: SyntaxError"),
        (
            "lacks.py:build",
            "import no_such_package",
            "cannot be imported: line 1 of lacks.py: ModuleNotFoundError",
        ),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path, monkeypatch, reference, content, message):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / reference.partition(":")[0]).write_text(content)
    with pytest.raises(ReproError, match=message):
        raise run("--model", reference, "--input", "1x4").exception


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--depth", 2], "--depth: it goes with"),
        (["--input", "1x2"], "--input: it goes with"),
        (["--experiment", "coco-r50-gc16"], "did you mean coco-r50-gc-r16"),
        (["--experiment", "coco-r50-1gc", "--table", 2], "--table: it is for the paper's tables"),
        (["--model", "net.py:Net", "--input", "1x2", "--format", "md"], "--format: it is for the paper's tables"),
        (["--experiment", "coco-r50-1gc", "--model", "net.py:Net"], "--model: an experiment has its own"),
        (["--experiment", "coco-r50-1gc", "--input", "1x2"], "--input: an experiment has its own"),
        (["--model", "net.py:Net"], "--model needs the shape of each input"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(ReproError, match=message):
        raise run(*arguments).exception
