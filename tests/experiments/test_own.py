"""Experiments from a file: found, hashed by their source, shrunk like the paper's; wrong files say what is wrong."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from repro import experiments
from repro.errors import ReproError
from repro.experiments import GC, exchange_block, get, mini, own
from repro.planning import keys
from repro.planning.plan import plan
from repro.planning.work_order import confirm_unchanged, from_json, order_work, to_json
from repro.settings import Settings
from repro.tasks import task_for

HEAD = """
from dataclasses import replace
import torch
from torch import nn
from repro.experiments import GC, Insertion, exchange_block, get
"""
GATE = """
class Gate(nn.Module):
    def __init__(self, channels, dimensions):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, *[1] * dimensions))

    def forward(self, x):
        return x * (1 + self.weight * x.mean(tuple(range(2, x.dim())), keepdim=True))
"""
MINE = HEAD + GATE + "gate = exchange_block(get('coco-r50-gc-r16'), 'gate', Gate)\n"


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """No test sees the experiments, or the modules, that another one loaded."""
    monkeypatch.setattr(experiments, "_OWN", {})
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write_file


def load_one(reference):
    (name,) = own.list_names(reference)
    return get(name)


def test_a_file_defines_an_experiment_beside_the_one_that_it_was_made_from(write):
    experiment = load_one(write(MINE))
    theirs = get("coco-r50-gc-r16")
    assert (experiment.name, experiment.derived_from, theirs.derived_from) == ("gate", theirs.name, theirs.name)
    context = experiment.network.backbone.context
    assert (context.sites, context.position) == (theirs.network.backbone.context.sites, "after1x1")
    assert experiment.recipe == theirs.recipe
    assert experiment.source.files[0].text == MINE


def test_it_shrinks_like_the_papers_and_its_block_gets_the_small_networks_channels(write, tmp_path):
    order = order_work(own.list_names(write(MINE))[0], Settings(results=tmp_path))
    small, theirs = order.experiment, mini.get_at_profile("coco-r50-gc-r16", "mini")
    assert small.recipe == theirs.recipe
    bare = [replace(e.network.backbone, context=None) for e in (small, theirs)]
    assert bare[0] == bare[1]
    # So it starts from the detector that they share.
    assert keys.initial_weights_key(small, order.settings) == keys.initial_weights_key(theirs, order.settings)
    network = task_for(small, order.settings).build_network()
    gates = [module for module in network.modules() if type(module).__name__ == "Gate"]
    assert [gate.weight.numel() for gate in gates] == [64, 128, 128, 256]  # c3, two blocks of c4, c5 of width 8


def test_a_block_that_is_the_papers_trains_as_the_papers(write, tmp_path):
    """The same initial weights and the same results: an experiment of a file is nothing but another name."""
    text = HEAD + "from repro.models.context import build\ndef block(c, d):\n    return build(GC, c, d)\n"
    path = write(text + "same = exchange_block(get('coco-r50-1gc'), 'same', block)\n")
    settings = Settings(results=tmp_path)
    networks = []
    for name in (own.list_names(path)[0], "coco-r50-1gc"):
        torch.manual_seed(3)
        networks.append(task_for(order_work(name, settings).experiment, settings).build_network().state_dict())
    assert networks[0].keys() == networks[1].keys()
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


@pytest.mark.parametrize("base", ["imagenet-r50-gc-r16", "kinetics-r50-5nl"])
def test_the_other_tasks_shrink_too(base, write, tmp_path):
    path = write(HEAD + GATE + f"gate = exchange_block(get('{base}'), 'gate', Gate)\n")
    order = order_work(own.list_names(path)[0], Settings(results=tmp_path))
    network = task_for(order.experiment, order.settings).build_network()
    assert any(type(module).__name__ == "Gate" for module in network.modules())
    assert (order.starts_from is None) == (base != "imagenet-r50-gc-r16")


def test_an_order_travels_and_says_where_the_file_is(write, tmp_path):
    path = write(MINE)
    order = order_work(own.list_names(path)[0], Settings(results=tmp_path, seed=2))
    text = json.dumps(to_json(order))
    experiments._OWN.clear()  # as another process begins
    assert from_json(json.loads(text)).key == order.key
    write(MINE + "# edited\n")
    experiments._OWN.clear()
    with pytest.raises(ReproError, match="was edited since this was planned"):
        from_json(json.loads(text))
    with pytest.raises(ReproError, match="was edited since this was planned"):
        confirm_unchanged(order)


def test_the_source_is_the_file_and_what_it_imports_from_beside_it(write, tmp_path):
    write(GATE.replace("class", "import torch\nfrom torch import nn\nclass", 1), "parts/blocks.py")
    write("", "parts/__init__.py")
    write("unrelated = 1\n", "other.py")
    path = write(HEAD + "def make(c, d):\n    from parts.blocks import Gate\n    return Gate(c, d)\n"
                 "gate = exchange_block(get('coco-r50-gc-r16'), 'gate', make)\n")  # fmt: skip
    before = load_one(path)
    assert sorted(file.name for file in before.source.files) == ["mine.py", "parts/__init__.py", "parts/blocks.py"]

    def hash_after(text, name):
        write(text, name)
        experiments._OWN.clear()
        return load_one(path).spec_hash

    assert hash_after("unrelated = 2\n", "other.py") == before.spec_hash
    assert hash_after("# a note\n", "parts/__init__.py") != before.spec_hash
    assert hash_after("", "parts/__init__.py") == before.spec_hash
    copy = write((tmp_path / "mine.py").read_text(), "elsewhere/renamed.py")
    write("", "elsewhere/parts/__init__.py")
    write((tmp_path / "parts" / "blocks.py").read_text(), "elsewhere/parts/blocks.py")
    experiments._OWN.clear()
    assert load_one(copy).spec_hash == before.spec_hash  # where it lies is no part of a key


def test_two_files_may_each_have_a_module_of_one_name_beside_them(write, tmp_path):
    for folder, width in (("a", 3), ("b", 5)):
        write(f"WIDTH = {width}\n", f"{folder}/settings_of_block.py")
        write(HEAD + "from settings_of_block import WIDTH\ndef make(c, d):\n    return nn.Identity()\n"
              f"a = exchange_block(get('coco-r50-snl'), f'{folder}-{{WIDTH}}', make)\n",
              f"{folder}/mine.py")  # fmt: skip
    names = [load_one(str(tmp_path / folder / "mine.py")).name for folder in "ab"]
    assert names == ["a-3", "b-5"]


def test_an_edit_makes_another_measurement_and_the_plan_says_why(write, tmp_path):
    path = write(MINE)
    settings = Settings(results=tmp_path)
    (step,) = plan(own.list_names(path), settings)
    record = SimpleNamespace(
        experiment="gate", profile="mini", readings={}, training=SimpleNamespace(key=step.order.key), seed=0,
        spec_hash=step.order.experiment.spec_hash, submitted=None, evaluator="-", measured_by=step.order.key,
        filename="gate.mini.json", own=SimpleNamespace(source=step.order.experiment.source),
        cost=SimpleNamespace(train_seconds=20.0, evaluate_seconds=2.0),
    )  # fmt: skip
    stored = SimpleNamespace(all=lambda: [record], counts=dict)
    write(MINE.replace("1 +", "2 +"))
    experiments._OWN.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "store", property(lambda self: stored))
        (edited,) = plan(own.list_names(path), settings)
    assert edited.status == "ready"
    assert edited.reason == "another measurement than gate.mini.json: mine.py was edited since"


WRONG = {
    "syntax": ("x = (", r"mine.py cannot be imported: SyntaxError: .*line 1"),
    "import": (HEAD + "import no_such_module\n", r"line 6 of mine.py: ModuleNotFoundError: No module named"),
    "nothing": (HEAD + GATE, r"defines no experiment: make one with"),
    "two of one name": (
        MINE + "other = exchange_block(get('coco-r50-1gc'), 'gate', Gate)\n",
        r"two experiments have the name 'gate'",
    ),
    "a name of the paper's": (
        MINE + "b = replace(get('coco-r50-1gc'), recipe=replace(get('coco-r50-1gc').recipe, epochs=3))\n",
        r"'coco-r50-1gc' is an experiment of the paper, and this is another one",
    ),
    "a name with a slash": (
        HEAD + GATE + "gate = exchange_block(get('coco-r50-1gc'), '../gate', Gate)\n",
        r"'../gate' is no name",
    ),
    "a module": (
        HEAD + GATE + "gate = exchange_block(get('coco-r50-1gc'), 'gate', Gate(64, 2))\n",
        r"its block is Gate; it has to be a function or a class",
    ),
    "another data set": (
        HEAD + GATE + "gate = replace(get('coco-r50-1gc'), name='gate', dataset='imagenet')\n",
        r"say beside which of the paper's experiments on imagenet",
    ),
    "signature": (
        HEAD + "gate = exchange_block(get('coco-r50-1gc'), 'gate', lambda channels: nn.Identity())\n",
        r"cannot be called as <lambda>\(128, 2\).*too many positional arguments; it takes \(channels\)",
    ),
    "no module": (
        HEAD + "gate = exchange_block(get('coco-r50-1gc'), 'gate', lambda c, d: 3)\n",
        r"returned int: a block's factory returns a torch.nn.Module",
    ),
    "shape": (
        MINE.replace("return x *", "return x.mean((2, 3), keepdim=True) *"),
        r"block Gate makes \(2, 64, 1, 1\), torch.float32, of a feature map \(2, 64, 7, 10\)",
    ),
    "no tensor": (MINE.replace("return x *", "return x, x *"), r"block Gate returns tuple for a feature map"),
    "raises": (
        MINE.replace("self.weight *", "self.wait *"),
        r"block Gate failed on a feature map .*: line 13 of mine.py: AttributeError",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_one_message(wrong, write, tmp_path):
    text, message = WRONG[wrong]
    with pytest.raises(ReproError, match=message) as raised:
        order_work(own.list_names(write(text))[0], Settings(results=tmp_path))
    assert "\n" not in str(raised.value)


def test_what_the_mini_profile_would_leave_out_is_refused(write, tmp_path):
    path = write(
        HEAD + GATE + "gate = exchange_block(get('coco-r50-gc-r16'), 'gate', Gate)\n"
        "gate = replace(gate, recipe=replace(gate.recipe, epochs=24))\n"
    )
    with pytest.raises(ReproError, match="gate has no mini version: the mini profile has recipes of its own"):
        order_work(own.list_names(path)[0], Settings(results=tmp_path))


def test_a_name_of_no_experiment_in_the_file(write):
    with pytest.raises(ReproError, match="did you mean gate"):
        own.list_names(f"{write(MINE)}:gat")
    with pytest.raises(ReproError, match="there is no file"):
        own.list_names("missing.py:gate")
    with pytest.raises(ReproError, match="unknown entry point"):
        own.list_names("no-package:gate")


def test_lists_count_and_private_names_do_not(write):
    path = write(
        HEAD + GATE + "_base = replace(get('coco-r50-gc-r16'), recipe=None)\nbase = get('coco-r50-snl')\n"
        "ratios = [exchange_block(base, f'gate-{r}', replace(GC, ratio=r)) for r in (2, 64)]\n"
    )
    assert own.list_names(path) == ["gate-2", "gate-64"]
    assert own.list_names(f"{path}:gate-64") == ["gate-64"]
    assert get("gate-2").network.backbone.context.block == replace(GC, ratio=2)


def test_a_package_may_have_an_entry_point(write, monkeypatch, tmp_path):
    write("", "ownblocks/__init__.py")
    write(MINE, "ownblocks/experiments.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = SimpleNamespace(name="ownblocks", module="ownblocks.experiments")
    monkeypatch.setattr(own, "entry_points", lambda group, name=None: [entry] if name in (None, "ownblocks") else [])
    experiment = load_one("ownblocks:gate")
    assert (experiment.source.name, experiment.source.files[0].text) == ("ownblocks", MINE)
    assert [file.name for file in experiment.source.files] == ["ownblocks/experiments.py", "ownblocks/__init__.py"]


def test_exchanging_a_block_where_there_is_none_puts_it_where_gc_blocks_stand():
    made = exchange_block(get("coco-r50-baseline"), "coco-r50-gc-r16", GC)
    assert made == get("coco-r50-gc-r16")
