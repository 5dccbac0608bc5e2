"""What logging and showing cost a training, against the time that an iteration of the mini profile takes.

python benchmarks/logs.py

The calls that `fit` makes for each iteration are made with the loss terms of a detector, as often as a mini training
has iterations, and their CPU time is taken, which does not depend on what else the machine does. The time of an
iteration is that of the committed records, of each data set that of the fastest experiment.
"""

from __future__ import annotations

import importlib.util
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from lightning_fabric import Fabric
from rich.console import Console

from repro.cli.progress import StagePanel
from repro.engine.log_targets import LogTargets
from repro.engine.observation import Observation, Observer
from repro.engine.state import Position, Run
from repro.paths import REFERENCE
from repro.records import Store

ITERATIONS, SAVE_EVERY, BATCH = 600, 50, 16
TERMS = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
FRAMES = 1  #: of the panel in a second


def measure(act: Callable[[], object]) -> float:
    """CPU seconds of this process while `act` runs."""
    begin = time.process_time()
    act()
    return time.process_time() - begin


def find_iteration_seconds() -> dict[str, float]:
    """The shortest mean time of an iteration among the committed mini records of each data set."""
    fastest: dict[str, float] = {}
    for record in Store(REFERENCE / "records").all():
        if record.profile == "mini" and record.training and record.cost.train_seconds:  # else trained for another
            family = record.experiment.split("-")[0]
            seconds = record.cost.train_seconds / record.training.iterations
            fastest[family] = min(seconds, fastest.get(family, seconds))
    return fastest


def log_iterations(directory: Path, targets: LogTargets, panel: StagePanel) -> float:
    """CPU seconds an iteration that its logs take, with those at saved states and at the end."""
    run = Run(directory, "benchmark", writes=True)
    run.restore(SimpleNamespace(), SimpleNamespace(), None)  # type: ignore[arg-type]  # there is no state to load

    def act() -> None:
        observation = Observation(targets, progress=lambda at: panel("training", at.iteration, at.total, at))
        with Observer(observation, run, 0, ITERATIONS, 75, BATCH, Fabric(devices=1, accelerator="cpu")) as observer:
            for number, _ in enumerate(observer.watch(iter(range(ITERATIONS))), start=1):
                line = {
                    "iteration": number,
                    "lr": 0.1 / number,
                    "losses": dict.fromkeys(TERMS, 1 / number),
                    "norm": 1.0,
                }
                run.append(line)
                observer.log(line, Position(iteration=number, seconds=number / 10))
                if number % SAVE_EVERY == 0:
                    observer.save()
                observer.show()

    seconds = measure(act)
    run.close()
    return seconds / ITERATIONS


def main() -> None:
    panel = StagePanel("benchmark", Console(file=io.StringIO(), width=120, force_terminal=True))
    panel.live.start = lambda *_: None  # type: ignore[method-assign]  # drawn below, as often as its thread would
    calls = {}
    with tempfile.TemporaryDirectory() as place:
        calls["`log.jsonl`, `metrics.csv`, what the panel is told"] = log_iterations(Path(place), LogTargets(), panel)
    if importlib.util.find_spec("tensorboard"):
        with tempfile.TemporaryDirectory() as place:
            log_iterations(Path(place) / "warm-up", LogTargets(tensorboard=True), panel)
            calls["the same, and TensorBoard"] = log_iterations(Path(place), LogTargets(tensorboard=True), panel)
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    frame = measure(lambda: [console.print(panel.render()) for _ in range(50)]) / 50
    fastest = find_iteration_seconds()
    print(f"| CPU time | ms an iteration | {' | '.join(f'% of {name}' for name in fastest)} |")
    print(f"|:---|---:|{'---:|' * len(fastest)}")
    for label, seconds in calls.items():
        shares = [100 * seconds / each for each in fastest.values()]
        print(f"| {label} | {1000 * seconds:.2f} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    share = f"{100 * frame * FRAMES:.2f}"
    print(f"| the panel, {FRAMES} x {1000 * frame:.1f} ms a second | | {' | '.join([share] * len(fastest))} |")
    print("\n" + ", ".join(f"{name}: {1000 * seconds:.0f} ms an iteration" for name, seconds in fastest.items()))


if __name__ == "__main__":
    main()
