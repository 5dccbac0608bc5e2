"""One experiment by several processes: the same weights in all, the same detections as one's, and no one left waiting.

`shared_runs.py` runs shortened mini experiments in forked processes; the launchers themselves are tested here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from places import REFERENCE, ROOT, SUPPORT
from torch import nn

from repro import records
from repro.data.coco import DetectionSample
from repro.detection.torchvision import MaskRCNN
from repro.engine import distributed, launch
from repro.engine.launch import Processes
from repro.engine.memory import explain_memory_errors
from repro.errors import ReproError
from repro.experiments import get, mini
from repro.measuring import deviations
from repro.measuring.batch_division import divide_batch, effective_recipe
from repro.planning import plan
from repro.records import Record, Segment
from repro.settings import Settings

NAME = "coco-r50-gc-r16"
ALONE, TWO = Processes(1, 1), Processes(2, 2, 0, "torchrun")


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> tuple[Path, dict]:
    """The directory of the runs of `shared_runs.py` and its report."""
    root = tmp_path_factory.mktemp("shared")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, str(SUPPORT / "shared_runs.py"), str(root)]
    run = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    return root, json.loads((root / "report.json").read_text())


def record(results: Path) -> Record:
    (path,) = (results / "records").glob("*.json")
    return records.read(path)


def weights(results: Path) -> bytes:
    (path,) = results.glob(f"runs/{NAME}.*/weights.pt")
    return path.read_bytes()


def errors(run: dict) -> list[str]:
    """What any process told as an error."""
    return [line for text in run["messages"] for line in text.splitlines() if line.startswith("error: ")]


# -- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.rounding
def test_two_processes_end_with_the_same_weights_and_one_record(shared):
    root, report = shared
    assert report["whole"]["statuses"] == [0, 0]
    assert (root / "evaluated0").read_text() == (root / "evaluated1").read_text()
    found = record(root / "whole")
    assert found.dataset.evaluated == 10  # 4 shards of 3, of which the second process had the second and the last
    assert (found.training.world_size, found.training.effective_batch, found.training.batch_per_process) == (2, 4, 2)
    assert "in each process alone, over 2 images" in found.training.normalisation
    assert any(found.training.normalisation in deviation for deviation in found.deviations)
    waits = "process 2 waits for the first one to "
    assert all(line.startswith(waits) for line in report["whole"]["messages"][1].splitlines())


def test_the_division_of_the_batch_is_told_before_the_training(shared):
    _, report = shared
    (line,) = [line for line in report["whole"]["messages"][0].splitlines() if "effective batch" in line]
    assert line.startswith(
        "coco-r50-gc-r16: 2 processes on cpu: effective batch 4, 2 in each process; learning rate 0.002"
    )
    assert "effective batch" not in report["again"]["messages"][0]


def test_what_is_measured_is_not_measured_again_by_several_either(shared):
    _, report = shared
    assert report["again"]["statuses"] == [0, 0]


@pytest.mark.rounding
def test_two_processes_detect_what_one_detects(shared):
    root, report = shared
    assert report["evaluated"]["statuses"] == [0]
    two, one = record(root / "whole"), record(root / "evaluated")
    assert one.predictions_sha256 == two.predictions_sha256
    assert (one.key, one.metrics, one.deviations) == (two.key, two.metrics, two.deviations)
    assert "training:" not in report["evaluated"]["messages"][0]


@pytest.mark.rounding
def test_stopped_and_taken_up_by_as_many_the_weights_are_the_same(shared):
    root, report = shared
    assert report["stopped"]["statuses"][0] == -signal.SIGKILL
    assert weights(root / "resumed") == weights(root / "whole")
    found = record(root / "resumed")
    assert [segment.start for segment in found.training.segments] == [0, 2]
    assert found.deviations == record(root / "whole").deviations


def test_two_one_and_two_processes_continue_one_training_and_it_is_recorded(shared):
    root, report = shared
    assert report["changing"]["statuses"] == [0, 0]
    found = record(root / "changing")
    assert [(s.start, s.world_size) for s in found.training.segments] == [(0, 2), (2, 1), (4, 2)]
    (deviation,) = set(found.deviations) - set(record(root / "whole").deviations)
    assert "2 from iteration 0, 1 from iteration 2, 2 from iteration 4" in deviation
    assert found.training.key == record(root / "whole").training.key
    assert found.weights.sha256 != record(root / "whole").weights.sha256


# -- what goes wrong in some or all processes -------------------------------------------------------------------------


def test_a_process_that_is_killed_leaves_none_waiting(shared):
    _, report = shared
    assert report["killed"]["statuses"] == [2, -signal.SIGKILL]
    (message,) = errors(report["killed"])
    assert "process 1 of 2 lost another one" in message
    assert "the same command goes on" in message
    assert "Traceback" not in report["killed"]["messages"][0]


def test_what_one_process_meets_it_tells(shared):
    _, report = shared
    assert report["corrupt"]["statuses"][1] == 2
    assert errors(report["corrupt"]) == ["error: 000000000007.png is corrupt"]


@pytest.mark.parametrize(
    ("run", "words"),
    [("memory", "out of memory in training (CUDA out of memory)"), ("contradiction", "torchrun started 2 processes")],
)
def test_what_all_processes_meet_the_first_tells(shared, run, words):
    root, report = shared
    assert report[run]["statuses"][0] == 2
    (message,) = errors(report[run])
    assert words in message
    assert not (root / run / "records").exists()


def test_too_little_memory_says_what_to_lower():
    refused = pytest.raises(ReproError, match=r"in training \(CUDA out of memory\)\. Lower it\. .*stays")
    with refused, explain_memory_errors("training", "Lower it."):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


# -- who starts the processes -----------------------------------------------------------------------------------------


def shortened(*arguments, **environment) -> subprocess.Popen:
    """Python with the mini profile shortened, in it and in what it starts."""
    path = os.pathsep.join([str(SUPPORT / "shortened"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def begun(shared, tmp_path) -> Path:
    """Results with data and pre-training only."""
    return Path(shutil.copytree(shared[0] / "killed", tmp_path / "results", ignore=shutil.ignore_patterns(f"{NAME}*")))


@pytest.mark.rounding
def test_torchrun_gives_the_same_weights(shared, tmp_path):
    results = begun(shared, tmp_path)
    run = shortened(
        "torch.distributed.run", "--nproc-per-node", 2, "--standalone",
        "-m", "repro", "run", NAME, "--profile", "mini", "--results", results, "--json",
    )  # fmt: skip
    output, messages = run.communicate(timeout=300)
    assert run.returncode == 0, messages
    assert json.loads(output)["training"]["world_size"] == 2
    assert weights(results) == weights(shared[0] / "whole")


def test_a_killed_process_ends_the_run_with_one_message(shared, tmp_path):
    results = begun(shared, tmp_path)
    run = shortened(
        "repro", "run", NAME, "--profile", "mini", "--results", results, "--devices", 2,
        REPRO_TEST_PROCESSES=str(tmp_path), REPRO_TEST_ITERATIONS="2000",
    )  # fmt: skip
    messages = []
    for line in run.stderr:
        messages.append(line)
        if line.startswith("training:"):
            os.kill(int((tmp_path / "1").read_text()), signal.SIGKILL)
            break
    _, rest = run.communicate(timeout=120)
    assert run.returncode == 2, messages
    assert "Traceback" not in rest
    (message,) = [line for line in rest.splitlines() if "error" in line.lower()]
    assert message.startswith("error: process 2 of 2 was killed, perhaps for want of main memory")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)


def script(tmp_path, text: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text("import os, sys, time\nrank = int(os.environ['RANK'])\n" + text)
    return [str(path)]


def test_the_processes_that_are_started_know_one_another(tmp_path):
    text = f"open(f'{tmp_path}/{{rank}}', 'w').write(os.environ['WORLD_SIZE'] + os.environ['LOCAL_RANK'])"
    assert launch.launch(2, script(tmp_path, text)) == 0
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["20", "21"]


def test_the_status_of_the_one_that_failed_is_the_whole_runs(tmp_path):
    begin = time.monotonic()
    assert launch.launch(2, script(tmp_path, "sys.exit(2) if rank == 1 else time.sleep(100)")) == 2
    assert time.monotonic() - begin < 60


def forget_launchers(monkeypatch):
    names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK")
    others = ("SLURM_", "TORCHELASTIC", "OMPI_", "PMI", "MPI_", "MV2_", "JSM_", "FLUX_", "HOROVOD_")
    for name in [name for name in os.environ if name.startswith(others) or name in names]:
        monkeypatch.delenv(name)


def test_torchrun_and_slurm_are_recognised_and_not_started_again(monkeypatch):
    forget_launchers(monkeypatch)
    assert launch.find_processes(None) == Processes(1, 1)
    assert not launch.find_processes(None).to_start
    assert launch.find_processes(4) == Processes(4, 4)
    assert launch.find_processes(4).to_start

    def set_all(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    set_all(SLURM_NTASKS="4", SLURM_NNODES="2", SLURM_PROCID="3", SLURM_JOB_NAME="train")
    assert launch.find_processes(2).to_start  # a batch script's own shell: srun has not started anything
    set_all(SLURM_STEP_ID="0")
    with pytest.raises(ReproError, match="--ntasks-per-node"):
        launch.find_processes(None)
    set_all(SLURM_NTASKS_PER_NODE="2", SLURM_LOCALID="1", SLURM_NODEID="1")
    assert launch.find_processes(None) == Processes(4, 2, 3, "Slurm")
    fabric = distributed.build_fabric(launch.find_processes(None), "cpu", "32-true")
    assert (fabric.world_size, fabric.global_rank, fabric.local_rank) == (4, 3, 1)
    set_all(TORCHELASTIC_RUN_ID="x", WORLD_SIZE="8", LOCAL_WORLD_SIZE="4", RANK="5", LOCAL_RANK="1", GROUP_RANK="1")
    assert launch.find_processes(None) == Processes(8, 4, 5, "torchrun")
    fabric = distributed.build_fabric(launch.find_processes(None), "cpu", "32-true")
    assert (fabric.world_size, fabric.global_rank, fabric.is_global_zero) == (8, 5, False)


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": "3", "LOCAL_RANK": "1",
}  # fmt: skip
SLURM = {
    "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "3", "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1",
}  # fmt: skip
LEFT_OVER = {
    "a name alone": ({"TORCHELASTIC_RUN_ID": "x"}, "WORLD_SIZE is not set", "unset TORCHELASTIC_RUN_ID."),
    **{
        f"without {name}": ({**TORCHRUN, name: None}, f"{name} is not set, but TORCHELASTIC_RUN_ID is set", "unset ")
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")
    },
    "no number": ({**TORCHRUN, "RANK": "first"}, "RANK is 'first'", "unset TORCHELASTIC_RUN_ID WORLD_SIZE"),
    "negative": ({**TORCHRUN, "RANK": "-1"}, "RANK is '-1'", "unset "),
    "no processes": ({**TORCHRUN, "WORLD_SIZE": "0"}, "WORLD_SIZE is '0'", "unset "),
    "digits of another script": ({**TORCHRUN, "RANK": "\u0663"}, "RANK is ", "unset "),
    "without end": ({**TORCHRUN, "WORLD_SIZE": "9" * 5000}, "WORLD_SIZE is ", "unset "),
    "a rank beyond": ({**TORCHRUN, "RANK": "4"}, "RANK is 4 and WORLD_SIZE 4", "unset "),
    "a local rank beyond": ({**TORCHRUN, "LOCAL_RANK": "2"}, "LOCAL_RANK is 2 and LOCAL_WORLD_SIZE 2", "unset "),
    "parts of nodes": ({**TORCHRUN, "LOCAL_WORLD_SIZE": "3"}, "LOCAL_WORLD_SIZE is 3 and WORLD_SIZE 4", "unset "),
    "a local rank alone": ({"LOCAL_RANK": "1"}, "LOCAL_RANK is '1'", "unset LOCAL_RANK."),
    "another launcher's": ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE is '2'", "unset WORLD_SIZE RANK."),
    "a node of several": ({"NODE_RANK": "one"}, "NODE_RANK is 'one'", "unset NODE_RANK."),
    "mpirun": (
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"},
        "OMPI_COMM_WORLD_SIZE is '2', as where Open MPI's mpirun started several processes",
        "unset OMPI_COMM_WORLD_SIZE OMPI_COMM_WORLD_RANK.",
    ),
    "a rank of mpirun": ({"OMPI_COMM_WORLD_RANK": "1"}, "OMPI_COMM_WORLD_RANK is '1'", "unset OMPI_COMM_WORLD_RANK."),
    "mpirun in a job of Slurm": ({**SLURM, "OMPI_COMM_WORLD_SIZE": "8"}, "OMPI_COMM_WORLD_SIZE is '8'", "unset OMPI_"),
    "Hydra": ({"PMI_SIZE": "4", "PMI_RANK": "0"}, "PMI_SIZE is '4', as where an mpirun", "unset PMI_SIZE PMI_RANK."),
    "PRRTE": ({"PMIX_RANK": "3"}, "PMIX_RANK is '3'", "unset PMIX_RANK."),
    "Intel MPI": ({"MPI_LOCALNRANKS": "2", "MPI_LOCALRANKID": "0"}, "MPI_LOCALNRANKS is '2'", "unset MPI_LOCALNRANKS"),
    "MVAPICH2": ({"MV2_COMM_WORLD_RANK": "1"}, "MV2_COMM_WORLD_RANK is '1'", "unset MV2_COMM_WORLD_RANK."),
    "jsrun": ({"JSM_NAMESPACE_SIZE": "6"}, "JSM_NAMESPACE_SIZE is '6', as where jsrun", "unset JSM_NAMESPACE_SIZE."),
    "Flux": ({"FLUX_TASK_RANK": "1"}, "FLUX_TASK_RANK is '1', as where Flux", "unset FLUX_TASK_RANK."),
    "Horovod": ({"HOROVOD_SIZE": "2"}, "HOROVOD_SIZE is '2', as where horovodrun", "unset HOROVOD_SIZE."),
    "no number of processes": ({"PMI_SIZE": ""}, "PMI_SIZE is ''", "unset PMI_SIZE."),
    "tasks by node": ({**SLURM, "SLURM_NTASKS": "4(x2)"}, "SLURM_NTASKS is '4(x2)'", "unset SLURM_NTASKS."),
    "tasks by node, and nothing else": ({"SLURM_NTASKS": "4(x2)"}, "SLURM_NTASKS is '4(x2)'", "unset SLURM_NTASKS."),
    **{
        f"without {name}": ({**SLURM, name: None}, f"{name} is not set, but SLURM_NTASKS is 4", "unset SLURM_NTASKS.")
        for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")
    },
    "a task beyond": ({**SLURM, "SLURM_PROCID": "4"}, "SLURM_PROCID is 4 and SLURM_NTASKS 4", "unset SLURM_NTASKS."),
    "nodes that do not divide": ({**SLURM, "SLURM_NNODES": "3"}, "SLURM_NNODES is 3 and SLURM_NTASKS 4", "unset "),
}


@pytest.mark.parametrize(("variables", "words", "advice"), LEFT_OVER.values(), ids=LEFT_OVER)
def test_variables_that_a_launcher_left_over_are_named(monkeypatch, variables, words, advice):
    forget_launchers(monkeypatch)
    for name, value in variables.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ReproError) as refused:
        launch.find_processes(None)
    assert str(refused.value).startswith(words)
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},  # a container of one process
        {"SLURM_NTASKS": "1", "SLURM_STEP_ID": "0"},
        {"OMPI_COMM_WORLD_SIZE": "1", "OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0"},  # mpirun -n 1
        {"PMI_SIZE": "1", "PMI_RANK": "0"},
        {"SLURM_NTASKS": "4(x2)", "SLURM_JOB_NAME": "interactive"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},  # a batch script's own shell
    ],
)
def test_variables_that_call_it_alone_are_no_matter(monkeypatch, variables):
    forget_launchers(monkeypatch)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch.find_processes(None) == Processes(1, 1)


def test_what_srun_says_to_mpi_programs_is_no_other_launchers(monkeypatch):
    forget_launchers(monkeypatch)
    for name, value in {**SLURM, "PMI_SIZE": "4", "PMI_RANK": "3", "PMIX_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    assert launch.find_processes(None) == Processes(4, 2, 3, "Slurm")


def test_torchrun_on_each_node_may_be_started_by_mpirun(monkeypatch):
    forget_launchers(monkeypatch)
    for name, value in {**TORCHRUN, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launch.find_processes(None) == Processes(4, 2, 3, "torchrun")


def test_more_devices_than_there_are_is_one_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ReproError, match="2 processes on this machine need a CUDA device each, and PyTorch finds 1"):
        distributed.choose_accelerator("auto", TWO)
    assert distributed.choose_accelerator("cpu", TWO) == "cpu"
    assert distributed.choose_accelerator("auto", ALONE) == "cuda"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert distributed.choose_accelerator("auto", TWO) == "cpu"
    with pytest.raises(ReproError, match="finds no CUDA device"):
        distributed.choose_accelerator("cuda", ALONE)


# -- what is shared and how it is told --------------------------------------------------------------------------------


def division(profile="full", processes=ALONE, accelerator="cuda", **options):
    settings = Settings(Path("results"), profile, **options)
    experiment = mini.get_at_profile(NAME, profile)
    found = divide_batch(experiment, settings, processes, accelerator)
    told = found.describe(effective_recipe(experiment, settings), experiment.recipe)
    return found, told, deviations.protocol_deviations(experiment, settings, found)


def test_a_batch_that_cannot_be_divided_says_by_what_it_can():
    with pytest.raises(ReproError, match=r"batch of 4 images.*among 3 processes: choose --devices .* among 1, 2, 4$"):
        division("mini", Processes(3, 3))
    with pytest.raises(ReproError, match="or another --batch-size"):
        division("full", Processes(3, 3))


def test_the_papers_own_division_is_no_deviation():
    _, told, found = division("full", Processes(8, 8))
    assert "8 processes on cuda: effective batch 16, 2 in each process; learning rate 0.02 (the recipe's)" in told
    assert "synchronised, over 16 images" in told
    assert not any("GPU" in deviation or "process" in deviation for deviation in found)


@pytest.mark.parametrize(
    ("options", "statistics", "words"),
    [
        ({}, 16, "1 process instead of 8 GPUs with synchronised batch norm: its statistics are over 16 images"),
        ({"micro_batch": 4}, 4, "its statistics are over 4 images"),
        ({"processes": Processes(4, 4)}, 16, "4 processes instead of 8 GPUs"),
        (
            {"micro_batch": 3},
            3,
            "losses are means over groups of 2 images and one of 1, not over the 2 images of a GPU",
        ),
        ({"processes": Processes(8, 8), "micro_batch": 1}, 8, "over 8 images"),
        ({"processes": Processes(16, 8)}, 16, "losses are means over 1, not over the 2 images of a GPU"),
        ({"processes": Processes(8, 8), "accelerator": "cpu"}, 2, "in each process alone, over 2 images"),
    ],
)
def test_another_division_is_a_deviation(options, statistics, words):
    found, _, deviating = division("full", **options)
    assert found.statistics == statistics
    assert any(words in deviation for deviation in deviating)


def test_the_learning_rate_is_scaled_with_the_batch_and_said_to_be():
    _, told, _ = division("full", Processes(2, 2), batch_size=4)
    assert "effective batch 4, 2 in each process; learning rate 0.005 (the recipe's 0.02 x 4/16)" in told


def test_a_single_process_is_told_as_in_the_reference_records():
    reference = REFERENCE / "records"
    (path,) = reference.glob("coco-r50-baseline.mini.trained.seed0.*.json")
    assert division("mini", accelerator="cpu")[2] == json.loads(path.read_text())["deviations"]


def test_only_another_number_of_processes_is_a_deviation():
    segments = [
        Segment(start=0, world_size=2, precision="32-true"),
        Segment(start=9, world_size=2, precision="32-true"),
    ]
    assert deviations.resumption_deviations(segments) == []


def test_the_reference_records_are_what_the_plan_asks_for():
    """The world size is no part of a key, whatever it is: what was measured by one process stays measured."""
    names = plan.rows_by_experiment(2)
    for devices in (None, 2):
        settings = Settings(REFERENCE, devices=devices)
        steps = plan.plan(names, settings, range(3))
        assert [step.status for step in steps] == ["measured"] * 54


@pytest.mark.parametrize("name", ["coco-r50-gc-r16", "coco-x101-dcn-cascade-gc-r16"])
def test_every_trained_parameter_has_a_gradient_whatever_is_in_the_images(name):
    """Processes wait for each other's gradient of every parameter: one without would leave the others waiting."""
    network = mini.shrink(get("coco-r50-gc-r16")).network
    backbone = get(name).network.backbone
    small = replace(network.backbone, context=backbone.context, dcn=backbone.dcn)
    model = MaskRCNN(replace(network, backbone=small, cascade=get(name).network.cascade)).train()
    image = torch.zeros(3, 64, 192, dtype=torch.uint8)
    empty = DetectionSample(image, 1, (64, 192), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64),
                   torch.zeros(0, 64, 192, dtype=torch.uint8))  # fmt: skip
    sum(model.losses([empty, empty]).values()).backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert 0 < len(trained) < len(list(model.parameters()))  # c1 and c2 are frozen
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []


def test_weights_are_shared_by_whoever_is_alone():
    model = nn.Linear(1, 1)
    before = model.weight.clone()
    distributed.share_weights(model, distributed.build_fabric(ALONE, "cpu", "32-true"))
    assert torch.equal(model.weight, before)
