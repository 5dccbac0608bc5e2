"""How weights are named: ids, files that are there or not, and one state dict of several."""

from __future__ import annotations

import hashlib

import pytest
import torch
from patience import cpu_limit
from weights_files import STATE, torch_zip

from repro.checkpoints import choice
from repro.checkpoints.prefixes import describe_prefix, find_second_set
from repro.checkpoints.safetensors_files import serialise
from repro.checkpoints.weight_files import read
from repro.checkpoints.weight_names import split_part
from repro.conversion.networks import build_meta_state_dict
from repro.errors import ReproError
from repro.experiments import get, mini

EXPERIMENT = get("imagenet-r50-baseline")


@pytest.mark.parametrize(
    "name",
    ["nowhere.pth", "./nowhere", "/nowhere/weights", "timm=nowhere.pth", "nowhere.safetensors", "nowhere.pt#ema"],
)
def test_a_file_that_does_not_exist_is_no_misspelt_id(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReproError, match=r"nowhere\S* cannot be read: it does not exist") as error:
        choice.choose(EXPERIMENT, name)
    assert "did you mean" not in str(error.value)


def test_a_misspelt_id_is_answered_with_the_nearest():
    with pytest.raises(ReproError, match="unknown weights 'torchvision/resnet50-19c8e375': did you mean torchvision/"):
        choice.choose(EXPERIMENT, "torchvision/resnet50-19c8e375")


def test_an_id_is_an_id_where_a_directory_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torchvision" / "resnet50-19c8e357").mkdir(parents=True)
    assert choice.choose(EXPERIMENT, "torchvision/resnet50-19c8e357").file is None


def test_a_path_of_any_length_is_answered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReproError, match="longer than the system allows"):
        choice.choose(EXPERIMENT, "x" * 300 + ".pth")


def test_one_state_dict_of_several_is_another_identity(tmp_path):
    content = torch_zip({"model": STATE, "model_ema": STATE})
    (tmp_path / "file.pth").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    whole = choice.choose(EXPERIMENT, f"timm={tmp_path / 'file.pth'}")
    part = choice.choose(EXPERIMENT, f"timm={tmp_path / 'file.pth'}#model_ema")
    assert (whole.identity, whole.part) == (digest, None)
    assert (part.identity, part.part, part.format) == (f"{digest}#model_ema", "model_ema", "timm")
    assert whole.digest == part.digest == f"sha256:{digest}"
    published = choice.choose(EXPERIMENT, "torchvision/resnet50-19c8e357#model")
    assert (published.identity, published.digest) == ("sha256:19c8e357#model", "sha256:19c8e357")


def test_a_number_sign_in_the_name_of_a_file(tmp_path):
    (tmp_path / "a#b.pth").write_bytes(b"")
    for text in (f"{tmp_path}/a#b.pth", f"timm={tmp_path}/a#b.pth"):
        assert split_part(text) == (text, None)
        assert split_part(f"{text}#model") == (text, "model")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["module.conv1.weight", "module.fc.bias"], "2 of its 2 keys begin with 'module.': DataParallel"),
        (["_orig_mod.conv1.weight"], "'_orig_mod.': torch.compile"),
        (["backbone.conv1.weight", "backbone.bn1.bias", "head.bias"], "2 of its 3 keys begin with 'backbone.'"),
        (["conv1.weight", "bn1.bias", "ema_conv1_weight"], "1 of its 3 keys begin with 'ema_'"),
        (["conv1.weight", "module.bias"], ""),
        ([], ""),
    ],
)
def test_prefixes_are_named(keys, words):
    assert words in describe_prefix(keys)
    assert bool(words) == bool(describe_prefix(keys))


NAMES = ["conv1.weight", "layer1.0.bn1.weight", "layer1.1.bn1.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("make", "twin"),
    [
        (lambda key: f"ema.{key}", ("conv1.weight", "ema.conv1.weight")),
        (lambda key: f"model_ema.module.{key}", ("conv1.weight", "model_ema.module.conv1.weight")),
        (lambda key: f"module.{key}", ("conv1.weight", "module.conv1.weight")),
        (lambda key: f"ema_{key.replace('.', '_')}", ("conv1.weight", "ema_conv1_weight")),
    ],
)
def test_two_sets_of_weights_in_one_state_dict(make, twin):
    """The second ones as timm, Lightning, mmengine and mmcv name moving averages beside the weights."""
    sets = {key: (number,) for number, key in enumerate(NAMES)}
    both = {**sets, **{make(key): shape for key, shape in sets.items()}, "num_updates": ()}
    assert find_second_set(both) == twin
    assert find_second_set({**sets, **{make(key): (*shape, 1) for key, shape in sets.items()}}) is None
    assert find_second_set(sets) is None
    assert find_second_set({make(key): shape for key, shape in sets.items()}) is None


def test_tensors_of_one_shape_are_no_two_sets():
    assert find_second_set({"a": (2, 3), "b": (2, 3), "b_a": (2, 3)}) is None
    assert find_second_set({"layer1.0.weight": (2,), "layer1.1.weight": (2,), "layer2.0.bias": (2,)}) is None


def test_two_sets_behind_two_prefixes():
    sets = {f"{name}.{key}": (i,) for i, key in enumerate(NAMES) for name in ("student", "teacher")}
    assert set(find_second_set(sets)) == {"student.conv1.weight", "teacher.conv1.weight"}


@pytest.mark.parametrize(
    "name", ["imagenet-r50-gc-r16", "coco-r50-1gc", "coco-x101-dcn-cascade-gc-r16", "kinetics-r50-5nl"]
)
def test_a_network_is_one_set(name):
    for profile in ("full", "mini"):
        state = build_meta_state_dict(mini.get_at_profile(name, profile).network)
        assert find_second_set({key: tuple(tensor.shape) for key, tensor in state.items()}) is None


def test_a_forged_state_dict_takes_no_time():
    long = {".".join(["a"] * 100_000) + str(number): () for number in range(20)}
    many = {f"a_{number}.b": () for number in range(50_000)}
    with cpu_limit(2):
        find_second_set(long | many)


@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_neither_of_two_sets_is_taken(tmp_path, kind):
    both = {**STATE, **{f"ema.{key}": 0 * value for key, value in STATE.items()}}
    path = tmp_path / "w.pth"
    path.write_bytes(torch_zip({"state_dict": both}) if kind == "torch" else serialise(both))
    with pytest.raises(
        ReproError, match=r"two sets of weights.*: '(\w+\.[vrw]\w+)' is there, and 'ema\.\1' .*file of its own"
    ):
        read(path)


def test_prefixes_are_named_where_weights_do_not_fit():
    from repro import conversion

    state = {f"module.{key}": value for key, value in STATE.items()}
    with pytest.raises(ReproError, match=r"none of its keys.*3 of its 3 keys begin with 'module\.'"):
        conversion.convert(state, "torchvision", EXPERIMENT.network)
    with pytest.raises(ReproError, match=r"cannot be told from keys.*3 of its 3 keys begin with 'module\.'"):
        conversion.recognise(state)


def test_prefixes_are_named_in_initial_weights(tmp_path, monkeypatch):
    from repro.tasks.task import Task

    class Fitting(Task):
        experiment = EXPERIMENT

        def start_from(self, model, tensors, spec):
            if "conv1.weight" not in tensors:
                raise ReproError("initial weights lack conv1.weight")

    monkeypatch.setattr(Fitting, "__abstractmethods__", frozenset())
    task, path = object.__new__(Fitting), tmp_path / "w.pth"
    for prefix in ("", "_orig_mod."):
        path.write_bytes(torch_zip({"net": {f"{prefix}conv1.weight": torch.ones(1)}}))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if prefix:
            with pytest.raises(ReproError, match=r"lack conv1\.weight\. 1 of its 1 keys begin with '_orig_mod\.'"):
                task.load_initial(None, path, digest, "net")
        else:
            task.load_initial(None, path, digest, "net")
        with pytest.raises(ReproError, match="exchanged"):
            task.load_initial(None, path, "0" * 64, "net")
