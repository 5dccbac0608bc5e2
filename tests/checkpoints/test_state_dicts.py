"""Several state dicts in one file: nothing is taken silently, and a name decides."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict

import pytest
import torch
from patience import cpu_limit
from weights_files import STATE, assert_state, detectron2, mmcv, torch_legacy, torch_zip

from repro.checkpoints import state_dicts
from repro.checkpoints.pickle_standins import Refused, StorageStandin, TensorStandin
from repro.checkpoints.weight_files import read
from repro.errors import ReproError

EMA = OrderedDict({key: value.clone() * 0 + 3 for key, value in STATE.items()})
SEVERAL = {
    "timm": ({"state_dict": STATE, "state_dict_ema": EMA}, "state_dict and state_dict_ema"),
    "torchvision": ({"model": STATE, "model_ema": EMA, "epoch": 3}, "model and model_ema"),
    "nested": ({"model": STATE, "ema": {"module": EMA, "updates": 7}}, "model and ema/module"),
    "only nested": ({"model": {"student": STATE, "teacher": EMA}}, "model/student and model/teacher"),
    "two frameworks": ({"state_dict": STATE, "model": EMA}, "state_dict and model"),
    "deep": (
        {"state_dict": STATE, "callbacks": {"EMA": {"shadow": {"net": EMA}}}},
        "state_dict and callbacks/EMA/shadow/net",
    ),
    "in a list": ({"model": STATE, "averages": [{"decay": 0.9}, EMA]}, "model and averages/1"),
    "optimal": ({"model": STATE, "optimal_model": EMA}, "model and optimal_model"),
    "GAN": ({"generator": STATE, "discriminator": EMA}, "generator and discriminator"),
}


@pytest.fixture
def read_value(tmp_path):
    def write_and_read(value, part=None, save=torch_zip):
        (tmp_path / "weights.pth").write_bytes(save(value))
        return read(tmp_path / "weights.pth", part=part)

    return write_and_read


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_none_is_taken_silently(read_value, kind, save):
    value, names = SEVERAL[kind]
    first, second = names.split(" and ")
    with pytest.raises(
        ReproError, match=f"several state dicts, {names}, and.*Say which: FILE#{first}, for example"
    ) as e:
        read_value(value, save=save)
    assert "Fetch it again" not in str(e.value)
    for part, expected in ((first, STATE), (second, EMA)):
        assert_state(read_value(value, part, save), expected)


def test_of_several_in_a_pickle_of_arrays(tmp_path):
    arrays = {key: value.numpy() for key, value in EMA.items()}
    (tmp_path / "model.pkl").write_bytes(detectron2(ema_state=arrays))
    with pytest.raises(ReproError, match="model and ema_state"):
        read(tmp_path / "model.pkl")
    assert_state(read(tmp_path / "model.pkl", part="ema_state"), EMA)


def test_a_single_one_of_another_name_has_to_be_named(read_value):
    value = {"model_ema": EMA, "epoch": 3}
    with pytest.raises(ReproError, match=r"its only state dict is model_ema.*FILE#model_ema"):
        read_value(value)
    contents = read_value(value, "model_ema")
    assert_state(contents, EMA)
    assert contents.meta == {"epoch": 3}


def test_a_name_that_is_not_there(read_value):
    with pytest.raises(ReproError, match="no state dict 'ema': its state dicts are model and model_ema"):
        read_value({"model": STATE, "model_ema": EMA}, "ema")
    with pytest.raises(ReproError, match="no state dict 'ema': its top level is its only state dict"):
        read_value(STATE, "ema")


def test_a_moving_average_with_a_counter_among_its_tensors(read_value):
    value = {"model": STATE, "model_ema": {**EMA, "num_updates": 5}}
    with pytest.raises(ReproError, match="model and model_ema"):
        read_value(value)
    assert_state(read_value(value, "model"), STATE)
    with pytest.raises(ReproError, match="its entry 'num_updates' is of type int"):
        read_value(value, "model_ema")


def test_names_in_messages_are_printable_and_few(read_value):
    names = {"ema\n\x1b[2J": EMA, **{f"x{number}": EMA for number in range(30)}}
    with pytest.raises(ReproError, match="and x4 and x5 and 24 more, and") as error:
        read_value({"model": STATE} | names)
    assert str(error.value).isprintable()
    with pytest.raises(ReproError, match="its only state dict is ") as error:
        read_value({"ema\n\x1b[2J": EMA})
    assert str(error.value).isprintable()


def test_scores_beside_the_weights_are_no_state_dict(read_value):
    """Lightning writes such."""
    scores = {"best_k_models": {"a.ckpt": torch.tensor(0.3)}, "best_model_score": torch.tensor(0.3)}
    states = [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": torch.ones(1), "params": [0]}]}]
    value = {
        "state_dict": STATE,
        "callbacks": {"ModelCheckpoint": scores},
        "optimizer_states": states,
        "solver": states,
    }
    assert_state(read_value(value), STATE)


def test_objects_in_themselves_and_in_many_others_take_no_time(read_value):
    loop = {"step": 1}
    loop["loop"] = many = [loop]
    for _ in range(60):
        many = [many, many]
    with cpu_limit(5):
        assert_state(read_value({"model": STATE, "loop": loop, "many": many}), STATE)


def test_parts_nested_a_thousandfold_take_no_memory():
    deep = {}
    for _ in range(20_000):
        deep = {"nested": deep}
    tracemalloc.start()
    try:
        assert state_dicts.select({"model": {}, "deep": deep}, None)[0] == {}
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_states_of_optimizers_are_no_state_dicts(read_value):
    adam = {"exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}
    named = {"state": {"w": adam}, "momentum": {"w": torch.ones(2)}}
    for value in (mmcv(), {"model": STATE, "optimizer": named, "optimizer_state": {0: adam}, "scaler": {"scale": 2.0}}):
        assert_state(read_value(value))


LISTED = list(EMA.values())
#: Averages that have no names to be chosen by, and what is said of them.
LOOSE = {
    "torch_ema": ({"model": STATE, "ema": {"decay": 0.9, "shadow_params": LISTED, "collected_params": None}},
                  "ema/shadow_params"),
    "torch_ema, collected": ({"model": STATE, "ema": {"shadow_params": LISTED, "collected_params": LISTED[:2]}},
                             "ema/shadow_params and ema/collected_params"),
    "by number": ({"state_dict": STATE, "average": dict(enumerate(LISTED))}, "average"),
    "at the top level": ({"model": STATE, "conv1.weight": EMA["conv1.weight"], "epoch": 3}, "conv1.weight"),
    "few among numbers": ({"model": STATE, "ema": {"w": LISTED[0], "decay": 0.9, "updates": 7}}, "ema"),
    "pairs": ({"model": STATE, "average": list(EMA.items())}, "average/0 and average/1"),
    "NeMo": ({"state_dict": STATE, "optimizer_states": [{"opt": {"state": {}, "param_groups": []},
                                                         "ema": tuple(LISTED), "decay": 0.9}]},
             "optimizer_states/0/ema"),
    "by number, of an optimizer": ({"model": STATE, "optimizer": {"state": {}, "param_groups": [],
                                                                  "average": dict(enumerate(LISTED))}},
                                   "optimizer/average"),
    "a long name": ({"model": STATE, "x" * 5000: [LISTED]}, "x{298}/0"),
}  # fmt: skip


@pytest.mark.parametrize("save", [torch_zip, torch_legacy])
@pytest.mark.parametrize("kind", LOOSE)
def test_tensors_beside_the_state_dict_are_named(read_value, kind, save):
    value, names = LOOSE[kind]
    name = next(iter(value))
    message = rf"beside its state dict {name} it holds tensors that may be weights too.*: {names}\..*FILE#{name}\."
    with pytest.raises(ReproError, match=message):
        read_value(value, save=save)
    assert_state(read_value(value, name, save), STATE)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("optimizer_ema", EMA),
        ("optimizer", {"momentum": EMA}),
        ("optimizer", {"state": {}, "param_groups": [], "z": EMA}),
        ("solver", {"param_groups": [], "weights": EMA}),
        ("optimizer", {"average": {f"module.{key}": value for key, value in EMA.items()}}),
    ],
)
def test_a_state_dict_within_an_optimizer_is_found(read_value, name, optimizer):
    with pytest.raises(
        ReproError, match=f"several state dicts, model and {name}(/momentum|/z|/weights|/average)?, and"
    ):
        read_value({"model": STATE, name: optimizer})
    assert_state(read_value({"model": STATE, name: optimizer}, "model"), STATE)


def test_of_two_with_one_name_none_is_chosen(read_value):
    value = {"model": STATE, "ema/module": EMA, "ema": {"module": STATE}}
    with pytest.raises(ReproError, match="model and ema/module and ema/module, and"):
        read_value(value)
    with pytest.raises(ReproError, match="2 state dicts of the name 'ema/module'"):
        read_value(value, "ema/module")
    assert_state(read_value(value, "model"), STATE)
    value = {"model": STATE, "models": {0: STATE, "0": EMA}}
    with pytest.raises(ReproError, match="2 state dicts of the name 'models/0'"):
        read_value(value, "models/0")


def test_a_name_as_it_is_printed_chooses(read_value):
    assert_state(read_value({"model": STATE, "ema\n": EMA}, r"'ema\n'"), EMA)


def test_one_object_under_two_names_is_chosen_by_either(read_value):
    for name in ("model", "best"):
        assert_state(read_value({"best": STATE, "model": STATE}, name), STATE)


def test_states_of_random_generators_and_scores_are_no_weights(read_value):
    value = {
        "model": STATE,
        "rng": torch.zeros(5056, dtype=torch.uint8),
        "cuda_rng": [torch.zeros(16, dtype=torch.uint8)],
        "best_acc1": torch.tensor([76.1]),
        "scaler": {"scale": torch.tensor([65536.0]), "growth": 2.0},
        "scheduler": {"base_lrs": [0.1, 0.2]},
        "optimizer": {"state": {"conv1.weight": {"exp_avg": torch.ones(2, 3, 2, 2), "step": torch.tensor(3.0)}}},
    }
    assert_state(read_value(value), STATE)


def test_forged_files_of_many_parts_take_no_time():
    tensor = TensorStandin(StorageStandin("0", 4, "float32"), 0, (4,), (1,))
    deep = {"w": [tensor]}
    for _ in range(20_000):
        deep = {"a" * 50: deep, "b": {"w": tensor}}
    optimizers = {f"optimizer.{number}": {"m": {"v": tensor}} for number in range(20_000)}
    networks = {str(number): {f"w{number}": tensor, "x": tensor} for number in range(20_000)}
    with cpu_limit(10):
        for value in ({"deep": deep}, optimizers | networks):
            with pytest.raises(Refused, match="more, and"):
                state_dicts.select(value, None)
            with pytest.raises(Refused, match="no state dict 'a'"):
                state_dicts.select(value, "a")
