"""Does the mini profile notice a wrong implementation? Blocks are spoilt, and the paper's statements asked again.

    python benchmarks/mini_sabotage.py --reference tables/reference --results DIR [--table 2] [--jobs 2]

Trains the networks of Table 2 or 4 that a fault touches, with the seeds 0 to 2, and prints what the statements answer
with them in place of the committed records: with those that are admitted beside the others, as everywhere. What is
trained stays in DIR; the same command goes on. `--faults NAME ...` chooses some.

    python benchmarks/mini_sabotage.py --tests

Runs the tests of the blocks against the paper's equations instead, with each fault and without; prints how many fail.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from repro.engine import instructions, pages
from repro.records import Record, Store
from repro.verification.hypotheses import Answer

SEEDS = range(3)
METRIC = {2: "ap_box", 4: "top1"}
TESTS = Path(__file__).parents[1] / "tests" / "models" / "test_context.py"


@dataclass(frozen=True)
class Fault:
    """A way to spoil a block: `touches` says which experiments it changes, by their context block's specification."""

    name: str
    says: str
    touches: Callable[[object], bool]
    spoil: Callable[[], None]
    alike: bool = False  #: all of them then compute the same function, so that one is trained and stands for all


def disconnect_fusion() -> None:
    from repro.models.context import GlobalContextBlock

    GlobalContextBlock._fuse = lambda self, x, transformed: x + 0 * transformed  # type: ignore[method-assign]


def pool_first_position() -> None:
    from repro.models.context import GlobalContextBlock

    def attend(self: GlobalContextBlock, x):
        alpha = 0 * self.conv_mask(x).flatten(1)
        alpha[:, 0] += 1
        return alpha

    GlobalContextBlock.attention = attend  # type: ignore[method-assign]


def add_instead_of_scaling() -> None:
    from repro.models.context import GlobalContextBlock

    GlobalContextBlock._fuse = lambda self, x, transformed: x + transformed  # type: ignore[method-assign]


def _is_context(block: object) -> bool:
    from repro.experiments import GlobalContext

    return isinstance(block, GlobalContext)


FAULTS = {
    fault.name: fault
    for fault in (
        Fault(
            "disconnected",
            "the fusion of GC, SNL and SE blocks adds nothing",
            _is_context,
            disconnect_fusion,
            alike=True,
        ),
        Fault(
            "first-position",
            "attention pooling takes the first position",
            lambda block: _is_context(block) and block.pooling == "att",  # type: ignore[attr-defined]
            pool_first_position,
        ),
        Fault(
            "se-adds",
            "squeeze-excitation adds what it should scale by",
            lambda block: _is_context(block) and (block.pooling, block.fusion) == ("avg", "scale"),  # type: ignore[attr-defined]
            add_instead_of_scaling,
        ),
    )
}


def list_touched(fault: Fault, table: int) -> list[str]:
    from repro import paper
    from repro.experiments import get

    contexts = {name: get(name).network.backbone.context for name in paper.load(table).experiments}
    return [name for name, context in contexts.items() if context and fault.touches(context.block)]


def train(fault: Fault, names: Iterable[str], results: Path) -> None:
    """Train the networks, spoilt, in this process."""
    from repro.measuring.measure import measure
    from repro.planning.work_order import order_work
    from repro.settings import Settings

    fault.spoil()
    for seed in SEEDS:
        for name in names:
            order = order_work(name, Settings(results=results, seed=seed, device="cpu"))
            record = measure(order, command=" ".join(sys.argv), progress=lambda *_: None)
            value = record.metrics[0]
            print(f"{fault.name}: {name} seed {seed}: {value.name} {value.value:.2f}", file=sys.stderr, flush=True)


def train_side_by_side(fault: Fault, table: int, results: Path, jobs: int) -> None:
    """Train in `jobs` processes, limited as the mini profile's workers are."""
    names = list_touched(fault, table)[: 1 if fault.alike else None]
    environment = {
        **os.environ,
        **instructions.pin("mini"),
        **pages.use_huge_pages("mini"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, "--results", str(results), "--train", fault.name]
    first = subprocess.run([*command, names[0]], env=environment, check=True)  # what all share is trained once
    assert first.returncode == 0
    parts = [names[1:][part::jobs] for part in range(jobs)]
    running = [subprocess.Popen([*command, *part], env=environment) for part in parts if part]
    if max((process.wait() for process in running), default=0):
        sys.exit("a training failed; see above")


def show(answer: Answer) -> str:
    """The answer, with the difference of means where it has one."""
    return answer.shown if answer.effect is None else f"{answer.shown} ({answer.effect:+.1f})"


def print_answers(faults: Sequence[Fault], number: int, reference: Path, results: Path) -> None:
    from repro import paper
    from repro.paper.hypotheses import load_hypotheses
    from repro.verification.hypotheses import answer_family, collect_mini
    from repro.verification.integrity import find_problems

    table, rules = paper.load(number), load_hypotheses()

    def select(directory: Path) -> dict[tuple[str, int], Record]:
        records = (r for r in Store(directory / "records").all() if r.profile == "mini" and r.metric(METRIC[number]))
        return {(r.experiment, r.seed): r for r in records if r.experiment in table.experiments and r.seed in SEEDS}

    sound = select(reference)
    # Such as the first stage of Table 4, without which no record of the second is admitted.
    beside = [r for r in Store(reference / "records").all() if r.experiment not in table.experiments]
    columns = {"sound": sound}
    for fault in faults:
        spoilt = select(results / fault.name)
        if fault.alike:
            metrics = {seed: record.metrics for (_, seed), record in spoilt.items()}
            spoilt = {
                (experiment, seed): sound[experiment, seed].model_copy(update={"metrics": metrics[seed]})
                for experiment in list_touched(fault, number)
                for seed in SEEDS
            }
        columns[fault.name] = sound | spoilt
    answers = {}
    for name, records in columns.items():
        admitted = list(records.values())
        if name in FAULTS and not FAULTS[name].alike:  # of those, one stands for all
            problems = find_problems({record.filename: record for record in (*beside, *admitted)}, {})
            for problem in problems:
                print(f"{name}: refused: {problem}", file=sys.stderr)
            admitted = [r for r in admitted if r.filename not in {problem.file for problem in problems}]
        ((_, measured),) = collect_mini(table, admitted)
        answers[name] = {a.hypothesis.says: a for a in answer_family(rules.of_table(number), measured, rules)}
    print("| statement | " + " | ".join(columns) + " |\n|:---|" + ":---|" * len(columns))
    for says in answers["sound"]:
        cells = [show(a[says]) for a in answers.values()]
        marked = [
            cells[0],
            *(cell if cell.split(" (")[0] == cells[0].split(" (")[0] else f"**{cell}**" for cell in cells[1:]),
        ]
        print(f"| {says} | " + " | ".join(marked) + " |")
    for fault in faults:
        how = "for which one was trained" if fault.alike else "trained"
        print(f"\n{fault.name}: {fault.says}; {len(list_touched(fault, number))} networks, {how}")


class Tally:
    """A plugin of pytest that counts."""

    def __init__(self) -> None:
        self.run, self.failed = 0, 0

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "call":
            self.run += 1
            self.failed += report.failed


def test_spoilt(fault: Fault | None) -> None:
    """Run the tests of the blocks in this process and print "failed run"."""
    import pytest

    if fault:
        fault.spoil()
    tally = Tally()
    with redirect_stdout(sys.stderr):
        pytest.main(["-q", "--tb=no", "-p", "no:cacheprovider", str(TESTS)], plugins=[tally])
    print(tally.failed, tally.run)


def print_tests() -> None:
    for name in ("sound", *FAULTS):
        command = [sys.executable, __file__, "--spoilt", name]
        failed, run = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"{name}: of {run} tests of the blocks, {failed} fail")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, default=Path("tables/reference"))
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--results", type=Path)
    what.add_argument("--tests", action="store_true")
    what.add_argument("--spoilt", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=int, choices=sorted(METRIC), default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--faults", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--train", nargs="+", metavar=("FAULT", "EXPERIMENT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tests:
        print_tests()
        return
    if given.spoilt:
        test_spoilt(FAULTS.get(given.spoilt))
        return
    if given.train:
        fault, *names = given.train
        train(FAULTS[fault], names, given.results)
        return
    faults = [FAULTS[name] for name in given.faults]
    for fault in faults:
        train_side_by_side(fault, given.table, given.results / fault.name, given.jobs)
    print_answers(faults, given.table, given.reference, given.results)


if __name__ == "__main__":
    main()
