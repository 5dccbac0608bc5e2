"""What needs processes of its own: trainings that are killed, that are several, or that may not write much.

    python separate_processes.py DIRECTORY

One process imports everything and forks the others, because the imports take longer than all trainings. It computes
nothing before it forks. Its directory then holds the trainings, and `report.json` says what became of them.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import recorded_operators
import torch
from lightning_fabric import Fabric
from tiny_training import Noisy, Plain, Squares, Steady, recipe, stack

from repro.engine import graphs
from repro.engine.loop import fit
from repro.engine.observation import Observation
from repro.errors import ReproError


def train(directory: Path, model=Noisy, **options):
    return fit(model(), recipe(), Squares(), identity="tiny", directory=directory, seed=3, save_every=4, **options)


def fork(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            torch.set_num_threads(1)
            action()
            status = 0
        finally:
            os._exit(status)
    return child


def wait(child: int) -> int:
    """The exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_replacement(directory: Path, number: int, after: bool) -> Callable[[], None]:
    """A training that kills itself just before (or after) it puts its `number`-th file in place."""

    def action() -> None:
        replacements, replace = iter(range(100)), os.replace

        def deadly(source, target):
            doomed = next(replacements) == number
            if after:
                replace(source, target)
            if doomed:
                os.kill(os.getpid(), signal.SIGKILL)
            if not after:
                replace(source, target)

        os.replace = deadly
        train(directory)

    return action


def kill_at_random(directory: Path, rng: random.Random) -> list[int]:
    """Kill the training three times, at random moments of its loop. Returns the length of the log at each kill."""
    lines = []
    for start in (0, 5, 10):
        target = rng.randrange(start + 1, start + 6)
        child = fork(lambda: train(directory, observation=Observation(progress=lambda _: time.sleep(0.01))))
        while logged(directory) < target and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        assert wait(child) == -signal.SIGKILL
        lines.append(logged(directory))
    assert wait(fork(lambda: train(directory))) == 0
    return lines


def logged(directory: Path) -> int:
    log = directory / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


class Watched(Plain):
    """Keeps what its weights were in every forward pass, and can stop every process at the same one."""

    def __init__(self, stop: int | None = None):
        super().__init__()
        self.seen, self.stop = [], stop

    def forward(self, batch):
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(self.fc.weight.detach().clone())
        return super().forward(batch)


def run_two(work: Callable[[int, Fabric], None]) -> list[int]:
    """The exit statuses of two gloo processes that do `work`, started as a launcher such as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def process(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), GROUP_RANK="0", WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test",
        )  # fmt: skip
        fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
        fabric.launch()
        work(rank, fabric)

    children = [fork(lambda rank=rank: process(rank)) for rank in range(2)]
    return [wait(child) for child in children]


def two_processes(directory: Path, stop: int | None, interrupted: Path) -> None:
    """Two gloo processes that train `Watched` together."""

    def process(rank: int, fabric: Fabric) -> None:
        whole = Watched()
        train(directory, model=lambda: whole, fabric=fabric)
        half = Watched(stop)
        try:
            train(interrupted, model=lambda: half, fabric=fabric)
        except KeyboardInterrupt:
            fabric.barrier()
        fit(
            Noisy(), recipe(precise_norm=5), Squares(), identity="precise", directory=directory.parent / "two-precise",
            seed=3, fabric=fabric,
        )  # fmt: skip
        seen = {"whole": torch.stack(whole.seen), "final": whole.fc.weight.detach(), "half": torch.stack(half.seen)}
        torch.save(seen, directory / f"rank{rank}.pt")

    assert run_two(process) == [0, 0]


def two_with_graphs(root: Path) -> None:
    """Two processes that train `Steady`, with passes of three samples and one: ordinary ones, and replayed ones."""
    graphs.Recorder = recorded_operators.Recorder

    def process(rank: int, fabric: Fabric) -> None:
        for name, replayed in (("two-ordinary", False), ("two-replayed", True)):
            model = Steady().to(memory_format=torch.channels_last)
            if rank:  # all begin with the first one's weights
                torch.nn.init.normal_(model.fc.weight)
            fit(
                model, recipe(batch_size=8), Squares(), identity="graphs", directory=root / name, seed=3,
                fabric=fabric, collate=stack, micro_batch=3, graphs=replayed,
            )  # fmt: skip

    assert run_two(process) == [0, 0]


def signalled(directory: Path) -> list[int]:
    """The exit statuses of two processes that train together; a signal comes in the second one alone."""

    def process(rank: int, fabric: Fabric) -> None:
        class Signalled(Watched):
            def forward(self, batch):
                if rank == 1 and len(self.seen) == 6:
                    os.kill(os.getpid(), signal.SIGUSR1)
                return super().forward(batch)

        try:
            fit(
                Signalled(), recipe(), Squares(), identity="tiny", directory=directory, seed=3, save_every=100,
                fabric=fabric,
            )  # fmt: skip
        except SystemExit as end:
            os._exit(int(end.code or 0))

    return run_two(process)


def limited(directory: Path, limit: int) -> str | None:
    """The message of a training that may write no file larger than `limit` bytes."""
    message = directory.with_suffix(".message")

    def action() -> None:
        message.touch()
        with message.open("w") as file:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                train(directory)
            except ReproError as error:
                file.write(str(error))

    assert wait(fork(action)) == 0
    return message.read_text()


def main(root: Path) -> None:
    report: dict[str, object] = {}
    assert wait(fork(lambda: train(root / "reference"))) == 0

    killed = {}
    # Four states (after iterations 4, 8, 12 and 16; but for the first, the one before is renamed), the weights, and the
    # result twice are put in place.
    for number in (0, 1, 2, 6, 7, 8, 9):
        for after in (False, True):
            directory = root / f"killed-{number}-{'after' if after else 'before'}"
            status = wait(fork(kill_at_replacement(directory, number, after)))
            left = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))
            assert wait(fork(lambda directory=directory: train(directory))) == 0
            killed[directory.name] = {"status": status, "left": left}
    report["killed"] = killed
    report["random"] = kill_at_random(root / "killed-at-random", random.Random(int(time.time())))

    two_processes(root / "two", 11, root / "two-interrupted")

    two_with_graphs(root)

    report["signalled"] = signalled(root / "signalled")

    report["limited log"] = limited(root / "limited-log", 300)
    report["limited state"] = limited(root / "limited-state", 4000)
    assert wait(fork(lambda: train(root / "limited-log"))) == 0
    assert wait(fork(lambda: train(root / "limited-state"))) == 0
    (root / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
