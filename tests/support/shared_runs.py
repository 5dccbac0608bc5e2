"""`repro run` of one shortened mini experiment by several processes, in the ways that it can go.

    python shared_runs.py DIRECTORY

One process imports everything and forks the others with the environment that torchrun gives them, because the imports
take longer than the experiment. `report.json` in the directory says what became of each run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "shortened"))

import shortening  # noqa: F401
import torch

from repro import cli
from repro.cli import run as verb
from repro.data.coco import CocoDetection
from repro.detection.torchvision import MaskRCNN
from repro.engine import distributed
from repro.errors import ReproError
from repro.evaluation import predictor
from repro.measuring import execution, training
from repro.tasks.detection import DetectorEvaluation

NAME = "coco-r50-gc-r16"


def run(results: Path, ranks: int, *options: str, inside: Callable[[int], None] = int, attended: bool = True) -> dict:
    """Statuses and messages of `repro run`.

    Args:
        inside: called in each process, with its rank, before it begins.
        attended: end the others when one fails, as a launcher does.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results.mkdir(exist_ok=True)
    errors = [results / f"messages{rank}" for rank in range(ranks)]

    def process(rank: int) -> None:
        if ranks > 1:
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", WORLD_SIZE=str(ranks), TORCHELASTIC_RUN_ID="test",
                LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
            )  # fmt: skip
        descriptor = os.open(errors[rank], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        inside(rank)
        sys.argv = ["repro", "run", NAME, "--profile", "mini", "--results", str(results), *options]
        cli.main()

    children = [_fork(partial(process, rank)) for rank in range(ranks)]
    statuses: dict[int, int] = {}
    while len(statuses) < ranks:
        for rank, child in enumerate(children):
            if rank not in statuses and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                statuses[rank] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if statuses[rank] and attended:
                    for other in set(range(ranks)) - set(statuses):
                        os.kill(children[other], signal.SIGTERM)
        time.sleep(0.05)
    return {"statuses": [statuses[rank] for rank in range(ranks)], "messages": [path.read_text() for path in errors]}


def _fork(action: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


# -- what happens inside the processes --------------------------------------------------------------------------------


def stop_after(iteration: int, rank: int) -> None:
    """Killed after so many iterations; a state is saved after every second one."""
    fit = training.fit
    training.fit = lambda *args, **options: fit(*args, **{**options, "save_every": 2})

    def die(stage: str, done: int, total: int, at: object = None) -> None:
        if (stage, done) == ("training", iteration):
            os.kill(os.getpid(), signal.SIGKILL)

    verb.show_stages = lambda title, quiet: nullcontext(die)


def hash_weights(directory: Path, rank: int) -> None:
    """Leaves the sha256 of the weights that this process evaluates."""
    original = predictor.Predictor.predict

    def hashed(predictor, *arguments):
        state = predictor.evaluation.model.state_dict()
        digest = hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values()))
        (directory / f"evaluated{rank}").write_text(digest.hexdigest())
        return original(predictor, *arguments)

    predictor.Predictor.predict = hashed


def killed(rank: int) -> None:
    distributed.GRACE = 0.1
    if rank == 1:
        original = CocoDetection.sample

        def sample(data, index, **options):
            if options.get("epoch") == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(data, index, **options)

        CocoDetection.sample = sample


def corrupt(rank: int) -> None:
    distributed.GRACE = 1.0 if rank else 60.0  # however late a busy machine ends the first, it has not spoken
    if rank == 1:

        def sample(data, index, **options):
            raise ReproError("000000000007.png is corrupt")

        CocoDetection.sample = sample


def too_little_memory(rank: int) -> None:
    distributed.GRACE = 20.0

    def losses(model, samples):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1")

    MaskRCNN.losses = losses


def refuse(rank: int) -> None:
    execution.TrainingExecution.acquire = None


def main(root: Path) -> None:
    torch.set_num_threads(1)
    DetectorEvaluation.shard = 3
    report: dict[str, dict] = {}

    def begun(name: str) -> Path:
        """A copy of the results so far that has the data and the pre-training, and nothing else."""
        copy = root / name
        shutil.copytree(root / "whole", copy, ignore=shutil.ignore_patterns("records", f"{NAME}*", "messages*"))
        return copy

    report["whole"] = run(root / "whole", 2, inside=partial(hash_weights, root))
    report["again"] = run(root / "whole", 2, inside=refuse)

    shutil.copytree(root / "whole", root / "evaluated")
    shutil.rmtree(root / "evaluated" / "records")
    report["evaluated"] = run(root / "evaluated", 1)

    resumed = begun("resumed")
    report["stopped"] = run(resumed, 2, inside=partial(stop_after, 3))
    shutil.copytree(resumed, root / "changing")
    report["resumed"] = run(resumed, 2)
    report["stopped alone"] = run(root / "changing", 1, inside=partial(stop_after, 5))
    report["changing"] = run(root / "changing", 2)

    report["killed"] = run(begun("killed"), 2, inside=killed, attended=False)
    report["corrupt"] = run(begun("corrupt"), 2, inside=corrupt)
    report["memory"] = run(begun("memory"), 2, inside=too_little_memory)
    report["contradiction"] = run(begun("contradiction"), 2, "--devices", "3")
    (root / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
