"""TF32 is used where it was asked for, and nowhere else; without a GPU, as far as PyTorch's switches show it."""

from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from repro import tasks
from repro.cli import app
from repro.engine import devices, loop
from repro.engine.arithmetic import choose_tf32, use_float32, uses_tf32
from repro.engine.launch import Processes
from repro.errors import ReproError
from repro.experiments import get, mini
from repro.measuring.deviations import numeric_overrides
from repro.planning import keys
from repro.planning.arithmetic import check_arithmetic
from repro.settings import Settings
from repro.tasks import task as task_module


@pytest.fixture(autouse=True)
def restored():
    yield
    choose_tf32("32-true")


def test_float32_is_float32_and_the_settings_come_back():
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    try:
        with use_float32():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(("precision", "expected"), [("32-true", False), ("tf32", True), ("bf16-mixed", False)])
def test_both_switches_follow_the_precision(precision, expected):
    choose_tf32(precision)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (expected, expected)
    with use_float32():
        assert not uses_tf32()
    assert (uses_tf32(), torch.backends.cudnn.allow_tf32) == (expected, expected)


def test_what_is_recorded_of_it(tmp_path):
    asked = Settings(results=tmp_path, profile="mini", precision="tf32")
    assert numeric_overrides(asked) == ["precision tf32 instead of float32"]
    numerics = devices.describe_numerics(asked)
    assert (numerics["precision"], numerics["tf32"]) == ("tf32", True)
    assert "repeats" not in numerics
    assert devices.describe_numerics(asked, accelerator="cuda")["repeats"] == "in distribution, not in bits"
    experiment = mini.get_at_profile("coco-r50-baseline", "mini")
    plain = Settings(results=tmp_path, profile="mini")
    assert keys.training_key(experiment, asked) != keys.training_key(experiment, plain)
    choose_tf32("tf32")
    on = lambda kind, precision: SimpleNamespace(  # noqa: E731
        device=SimpleNamespace(type=kind), strategy=SimpleNamespace(precision=SimpleNamespace(precision=precision))
    )
    found = [loop._get_precision(on(*one)) for one in (("cuda", "32-true"), ("cuda", "bf16-mixed"), ("cpu", "32-true"))]
    assert found == ["tf32", "bf16-mixed", "32-true"]


def test_a_cpu_has_none(tmp_path):
    asked = Settings(results=tmp_path, profile="full", precision="tf32")
    with pytest.raises(ReproError, match=r"--precision tf32 is of NVIDIA's GPUs.*use --device cuda"):
        check_arithmetic(get("imagenet-r50-baseline"), asked, "cpu")
    check_arithmetic(get("coco-x101-dcn-cascade-baseline"), asked, "cuda")
    command = ["run", "coco-r50-baseline", "--profile", "mini", "--precision", "tf32", "--results", str(tmp_path)]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, ReproError)
    assert refused.exception.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_networks_that_others_start_from_are_trained_without(tmp_path, monkeypatch):
    """Their key names no precision."""
    used = []
    monkeypatch.setattr(task_module, "fit", lambda *given, **how: used.append(uses_tf32()))
    task = tasks.task_for(
        mini.get_at_profile("coco-r50-gc-r16", "mini"), Settings(results=tmp_path, profile="mini", precision="tf32")
    )
    pretrainings = mini.list_pretrainings(task.experiment)[:1]
    monkeypatch.setattr(task, "load_pretraining_data", lambda spec: [])
    choose_tf32("tf32")
    task._pretrain(
        task.experiment,
        pretrainings,
        devices.distributed.build_fabric(Processes(1, 1), "cpu", "32-true"),
        lambda *_: None,
    )
    assert used == [False]
    assert uses_tf32()


@pytest.mark.parametrize(("cores", "gpus", "expected"), [(16, 1, 16), (64, 8, 8), (64, 1, 32), (2, 4, 1)])
def test_as_many_processes_load_data_as_a_gpu_needs_and_there_are_cores(cores, gpus, expected, monkeypatch):
    """Of the cores that a scheduler left to this process."""
    fabric = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices.count_loading_processes(fabric, None) == expected
    assert devices.count_loading_processes(fabric, 3) == 3
    assert devices.count_loading_processes(SimpleNamespace(device=SimpleNamespace(type="cpu")), None) == 0


@pytest.mark.parametrize(("per_task", "cores", "expected"), [("16", 16, 16), ("16", 1, 1), ("128", 128, 32)])
def test_a_task_of_slurm_has_cores_of_its_own(per_task, cores, expected, monkeypatch):
    """Bound to them, each of eight tasks of a node sees the eight devices of all, as with --gpus-per-node."""
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: range(cores), raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", per_task)
    fabric = SimpleNamespace(device=SimpleNamespace(type="cuda"))
    assert devices.count_loading_processes(fabric, None) == max(1, cores // 8)  # a job's script, which may be torchrun
    step = {"STEP_ID": 0, "NTASKS": 16, "NTASKS_PER_NODE": 8, "NNODES": 2, "PROCID": 9, "LOCALID": 1, "NODEID": 1}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.delenv("SLURM_JOB_NAME", raising=False)
    assert devices.count_loading_processes(fabric, None) == expected
