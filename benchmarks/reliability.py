"""Kills, full disks and flipped bits at random points of a training, an evaluation and a rendering.

    python benchmarks/reliability.py [--events 200] [--seed 0] [--only KIND] [--json FILE]

Both stages of an experiment on ImageNet are measured with tiny networks on 31 generated images, by `repro run` in
processes of their own, which are forked from one that has imported everything. After every event the same command is
given again, and what it ends in is compared with what an undisturbed run ended in: the records without times, costs and
interruptions, the weights and the logs, bit for bit. Ends with 1 if a record was lost or differs, if something damaged
was accepted silently, or if a process ended with a traceback. `docs/reliability.md` has the figures.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import imagenet_measurements as small

from repro import cli, experiments
from repro.tasks.classification import ClassifierEvaluation

STAGE1, FIRST, SECOND = "imagenet-r50-stage1", "imagenet-r50-gc-r16", "imagenet-r50-baseline"
#: Of the events, how many in a hundred are of each kind.
SHARES = {
    "kill, training and evaluation": 35,
    "kill, rendering": 10,
    "full disk, training and evaluation": 15,
    "full disk, rendering": 5,
    "damage, training and evaluation": 25,
    "damage, rendering": 10,
}
#: What a repetition need not share.
VOLATILE = ("created", "cost", "environment", "command", "content_sha256")
#: Words of which one is in every message about something damaged.
TOLD = (
    "damaged",
    "changed",
    "not a valid",
    "not valid",
    "not the one",
    "no content_sha256",
    "cannot be read",
    "is not",
)
RENDERINGS = {
    "table.md": ("table", "4", "--format", "md"),
    "table.tex": ("table", "4", "--format", "tex"),
    "table.csv": ("table", "4", "--format", "csv"),
    "report.html": ("report",),
}


def shorten() -> None:
    """Let the experiments be tiny: 6 and 3 iterations, a state after each, results of 4 images in a file."""
    for name, experiment in small.all_small().items():
        recipe = replace(experiment.recipe, epochs=2 if name == STAGE1 else 1)
        experiments.EXPERIMENTS[name] = replace(experiment, recipe=recipe)
    ClassifierEvaluation.shard = 4


# -- processes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit status, or minus the signal; what it said; seconds that it took."""

    status: int
    said: str
    seconds: float


def do_nothing() -> None:
    pass


class Process:
    """`repro ARGUMENTS` in a process of its own, which calls `before` first and `after` last."""

    def __init__(
        self,
        arguments: list[str],
        before: Callable[[], object] = do_nothing,
        after: Callable[[], object] = do_nothing,
    ) -> None:
        self.begin = time.monotonic()
        self._messages, messages = os.pipe()  # no file: one of limited size would be full
        fcntl.fcntl(messages, fcntl.F_SETPIPE_SZ, 1 << 20)
        self.id = os.fork()
        if self.id == 0:
            _execute(arguments, messages, before, after)
        os.close(messages)

    @property
    def is_over(self) -> bool:
        return os.waitid(os.P_PID, self.id, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def finish(self) -> Ended:
        """Wait for its end."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.id, 0)[1])
        os.set_blocking(self._messages, False)
        said = b""
        with suppress(BlockingIOError):
            while block := os.read(self._messages, 1 << 20):
                said += block
        os.close(self._messages)
        return Ended(status, said.decode(errors="replace"), time.monotonic() - self.begin)


def _execute(
    arguments: list[str], messages: int, before: Callable[[], object], after: Callable[[], object]
) -> NoReturn:
    status = 1
    try:
        for stream in (1, 2):
            os.dup2(messages, stream)
        sys.argv = ["repro", *arguments]
        before()
        cli.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        after()
        os._exit(status)


class Place:
    """A directory of results, and the commands that are given in it."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root, self.data, self.results = root, data, root / "results"
        root.mkdir(parents=True, exist_ok=True)

    def copy(self, root: Path) -> Place:
        shutil.copytree(self.root, root)
        return Place(root, self.data)

    def run(self, name: str) -> list[str]:
        """The arguments that measure an experiment."""
        return [
            "run", name, "--profile", "full", "--source", "trained", "--device", "cpu", "--micro-batch", "2",
            "--save-every", "1", "--data-root", str(self.data), "--results", str(self.results),
        ]  # fmt: skip

    def render(self, name: str) -> list[str]:
        """The arguments that render a file."""
        return [*RENDERINGS[name], "--results", str(self.results), "--output", str(self.root / name)]

    def execute(self, arguments: list[str], before: Callable[[], object] = do_nothing) -> Ended:
        return Process(arguments, before).finish()

    def kill(self, arguments: list[str], after: float) -> Ended:
        """Execute, and kill after so many seconds, unless it ends before."""
        process = Process(arguments)
        while not process.is_over and time.monotonic() - process.begin < after:
            time.sleep(0.002)
        if not process.is_over:
            os.kill(process.id, signal.SIGKILL)
        return process.finish()

    # -- what there is ------------------------------------------------------------------------------------------------

    def records(self) -> dict[str, dict]:
        """What the records have measured, by the names of their files."""
        return {path.name: _strip(json.loads(path.read_bytes())) for path in self.results.glob("records/*.json")}

    def record_files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.results.glob("records/*.json")}

    def trained(self) -> dict[str, bytes]:
        """Weights and logs of finished trainings."""
        found = {}
        for path in self.results.glob("runs/*/weights.pt"):
            for name in ("weights.pt", "log.jsonl"):
                found[f"{path.parent.name}/{name}"] = (path.parent / name).read_bytes()
        return found

    def remove(self, path: Path) -> None:
        """Remove a file of a store, or the whole directory that another one is in: of a run, or of generated data."""
        parts = path.relative_to(self.results).parts
        if parts[0] in ("records", "evidence"):
            path.unlink()
        else:
            shutil.rmtree(self.results.joinpath(*parts[:2]))

    def list_files(self) -> list[Path]:
        """List what a command may read again: not locks, which are empty, nor what only paired tests read."""
        files = (path for path in self.results.rglob("*") if path.is_file() and path.stat().st_size)
        return sorted(path for path in files if ".lock" not in path.name and path.parent.name != "evidence")


def _strip(record: dict) -> dict:
    kept = {name: value for name, value in record.items() if name not in VOLATILE}
    if kept.get("training"):
        kept["training"] = {n: v for n, v in kept["training"].items() if n not in ("resumed", "segments")}
    return kept


# -- events -----------------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """What was done, and what came of it."""

    kind: str
    what: str
    outcome: str = ""  #: in a word or two
    lost: int = 0
    differs: int = 0
    silent: int = 0
    tracebacks: int = 0

    @property
    def failed(self) -> bool:
        return bool(self.lost or self.differs or self.silent or self.tracebacks)


class Campaign:
    """The undisturbed runs, the states that events begin from, and the events."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.root, self.rng = root, rng
        data = small.write_data(root / "images")
        self._import_what_they_import(Place(root / "rehearsal", data))
        self.whole = Place(root / "whole", data)
        first = self._must(self.whole, self.whole.run(FIRST), count_replacements(root / "replacements"))
        self.seconds = first.seconds
        self.begun = self._interrupt(int((root / "replacements").read_text()))
        self.finished = self.whole.copy(root / "finished")
        self._must(self.whole, self.whole.run(SECOND))
        self.rendered = {}
        for name in RENDERINGS:
            self.render_seconds = self._must(self.finished, self.finished.render(name)).seconds
            self.rendered[name] = (self.finished.root / name).read_bytes()
            (self.finished.root / name).unlink()
        self.records, self.trained = self.whole.records(), self.whole.trained()

    def _import_what_they_import(self, place: Place) -> None:
        """Import here what the processes import when they need it, which takes longer than all that they compute."""
        names = place.root / "modules"
        for arguments in (place.run(FIRST), place.render("report.html")):
            Process(arguments, after=lambda: names.write_text("\n".join(sys.modules))).finish()
            for name in names.read_text().split():
                with suppress(Exception):
                    importlib.import_module(name)

    def _must(self, place: Place, arguments: list[str], before: Callable[[], object] = do_nothing) -> Ended:
        ended = place.execute(arguments, before)
        if ended.status:
            raise SystemExit(f"undisturbed, `repro {' '.join(arguments)}` ended with {ended.status}:\n{ended.said}")
        return ended

    def _interrupt(self, replacements: int) -> list[Place]:
        """What runs leave that were killed when they put a file in place, from the first such file to the last."""
        places = [Place(self.root / "begun-0", self.whole.data)]
        for number in range(1, replacements, max(1, replacements // 12)):
            place = Place(self.root / f"begun-{number}", self.whole.data)
            place.execute(place.run(FIRST), die_at_replacement(number))
            places.append(place)
        return places

    def play(self, kind: str, number: int) -> Event:
        """Let one event happen in a copy of what it begins from."""
        cause, _, during = kind.partition(", ")
        play = {"kill": self._kill, "full disk": self._fill, "damage": self._damage}[cause]
        root = self.root / f"event-{number}"
        try:
            return play(kind, during == "rendering", root)
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _begin(self, rendering: bool, root: Path) -> tuple[Place, list[str], str | None]:
        """A copy to disturb, the command, and the file that it renders."""
        if rendering:
            place, name = self.finished.copy(root), self.rng.choice(list(RENDERINGS))
            if self.rng.random() < 0.5:  # an earlier one is there, which must not be left half written
                (place.root / name).write_bytes(b"earlier")
            return place, place.render(name), name
        place = self.rng.choice(self.begun).copy(root)
        return place, place.run(FIRST), None

    def _kill(self, kind: str, rendering: bool, root: Path) -> Event:
        after = self.rng.uniform(0, self.render_seconds if rendering else self.seconds)
        while True:
            place, arguments, name = self._begin(rendering, root)
            before = place.record_files()
            if place.kill(arguments, after).status == -signal.SIGKILL:
                break
            after *= 0.6  # it had ended before
            shutil.rmtree(root)
        event = Event(kind, f"after {after:.2f} s", "killed, went on")
        self._check_left(event, place, before, name)
        self._repeat(event, place, arguments, before, name)
        return event

    def _fill(self, kind: str, rendering: bool, root: Path) -> Event:
        place, arguments, name = self._begin(rendering, root)
        before = place.record_files()
        if self.rng.random() < 0.5:
            limit = int(2 ** self.rng.uniform(4, 18))
            event, action = Event(kind, f"no file over {limit} bytes"), limit_files(limit)
        else:
            number = self.rng.randrange(1, 3 if rendering else 20)
            event, action = Event(kind, f"no space from the {number}th flush on"), fail_flushes(number)
        ended = place.execute(arguments, action)
        event.outcome = {0: "had room", 2: "told, went on"}.get(ended.status, f"status {ended.status}")
        event.tracebacks += "Traceback" in ended.said
        if ended.status and "cannot write" not in ended.said:
            event.silent += 1
        self._check_left(event, place, before, name)
        self._repeat(event, place, arguments, before, name)
        return event

    def _damage(self, kind: str, rendering: bool, root: Path) -> Event:
        if rendering:
            place, arguments, name = self._begin(True, root)
        else:  # of what is finished, a second experiment uses the first stage
            place = self.rng.choice([*self.begun[1:], *[self.finished] * 3]).copy(root)
            name, arguments = None, place.run(SECOND if place.record_files() else FIRST)
        files = defaultdict(list)  # by kind, or those of which there are many would be nearly all
        for path in place.list_files():
            in_run = path.parent.parent.name == "runs"
            if not rendering or path.parent.name == "records":
                files[path.name if in_run else path.parent.name].append(path)
        path = self.rng.choice(self.rng.choice(list(files.values())))
        event = Event(kind, f"{self._harm(path)} in {path.relative_to(place.results)}")
        before = {file: content for file, content in place.record_files().items() if file != path.name}
        harmed = path.read_bytes()
        ended = place.execute(arguments)
        event.tracebacks += "Traceback" in ended.said
        told = (path.name in ended.said or path.parent.name in ended.said) and any(word in ended.said for word in TOLD)
        if ended.status == 0:
            left = path.exists() and path.read_bytes() == harmed
            event.outcome = "told, went on" if told else "not read" if left else "replaced unread"
            self._compare(event, place, arguments, name, ended.said, damaged=path.name if left else "")
            return event
        event.outcome = "told, refused" if told else f"status {ended.status}"
        event.silent += not told
        place.remove(path)  # what the message says, and a user does
        if not rendering:
            self._repeat(event, place, arguments, before, name)
        return event

    def _harm(self, path: Path) -> str:
        """Damage a file, and say how."""
        content, how = bytearray(path.read_bytes()), self.rng.random()
        if how < 0.6 or len(content) < 2:
            bits = 1
        elif how < 0.75:
            bits = 16
        elif how < 0.9:
            kept = self.rng.randrange(len(content))
            path.write_bytes(content[:kept])
            return f"cut off after {kept} of {len(content)} bytes"
        else:
            first = self.rng.randrange(len(content))
            content[first : first + 512] = bytes(len(content[first : first + 512]))
            path.write_bytes(content)
            return f"zeros from byte {first}"
        for _ in range(bits):
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        path.write_bytes(content)
        return "a flipped bit" if bits == 1 else f"{bits} flipped bits"

    # -- checks -------------------------------------------------------------------------------------------------------

    def _check_left(self, event: Event, place: Place, before: dict[str, bytes], name: str | None) -> None:
        """After the event: no record is lost or changed, and none is half written; nor is what is rendered."""
        now = place.record_files()
        event.lost += sum(file not in now for file in before)
        event.differs += sum(now.get(file, content) != content for file, content in before.items())
        event.differs += sum(_strip(json.loads(content)) != self.records.get(file) for file, content in now.items())
        if name and (place.root / name).exists():
            event.differs += (place.root / name).read_bytes() not in (b"earlier", self.rendered[name])

    def _repeat(
        self, event: Event, place: Place, arguments: list[str], before: dict[str, bytes], name: str | None
    ) -> None:
        """The same command again must end as if nothing had happened."""
        ended = place.execute(arguments)
        event.tracebacks += "Traceback" in ended.said
        if ended.status:
            event.lost += 1
            event.outcome += f"; then status {ended.status}: {ended.said.strip().splitlines()[-1][:200]}"
        now = place.record_files()
        event.lost += sum(file not in now for file in before)
        event.differs += sum(now.get(file, content) != content for file, content in before.items())
        self._compare(event, place, arguments, name, ended.said)

    def _compare(
        self, event: Event, place: Place, arguments: list[str], name: str | None, said: str, damaged: str = ""
    ) -> None:
        """Every record and training must be one of the undisturbed run, and the record that was asked for is there.

        Args:
            damaged: the file that was damaged and not read.
        """
        files = {file: content for file, content in place.record_files().items() if file != damaged}
        event.differs += sum(_strip(json.loads(content)) != self.records.get(file) for file, content in files.items())
        if name is None:
            event.lost += not any(file.startswith(f"{arguments[1]}.") for file in files)
        else:
            event.differs += (place.root / name).read_bytes() != self.rendered[name]
        for file, content in place.trained().items():
            if content == self.trained.get(file) or file.endswith(f"/{damaged}"):
                continue
            if not (file.endswith("log.jsonl") and "log stays damaged" in said):
                event.silent += self._is_accepted(place, file)

    def _is_accepted(self, place: Place, file: str) -> bool:
        """Whether a training that is not as it was is taken for finished."""
        from repro.engine.fitted import RESULTS, find_finished

        directory = place.results / "runs" / file.split("/")[0]
        results = [directory / name for name in RESULTS if (directory / name).exists()]
        if file.endswith("log.jsonl"):
            return False  # no result and no record is made from the log of a finished training
        identities = {json.loads(path.read_bytes()).get("identity") for path in results if _is_json(path)}
        return any(find_finished(directory, str(identity)) is not None for identity in identities)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except ValueError:
        return False


# -- what a process does to itself ------------------------------------------------------------------------------------


def count_replacements(place: Path) -> Callable[[], None]:
    """Let a process write to `place` how many files it put in place."""

    def action() -> None:
        replace_file, number = os.replace, 0

        def counted(*paths: object) -> None:
            nonlocal number
            number += 1
            replace_file(*paths)
            place.write_text(str(number))

        os.replace = counted

    return action


def die_at_replacement(number: int) -> Callable[[], None]:
    """Let a process kill itself when it is about to put its `number`-th file in place."""

    def action() -> None:
        replace_file, left = os.replace, number

        def deadly(*paths: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            replace_file(*paths)

        os.replace = deadly

    return action


def limit_files(size: int) -> Callable[[], None]:
    """Let a process write no file over `size` bytes: EFBIG, after a part of it was written."""

    def action() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))

    return action


def fail_flushes(number: int) -> Callable[[], None]:
    """Let the disk of a process be full from its `number`-th flush on."""

    def action() -> None:
        flush, left = os.fsync, number

        def full(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(descriptor)

        os.fsync = full

    return action


# -- report -----------------------------------------------------------------------------------------------------------


def write_report(events: list[Event], seconds: float) -> None:
    by_kind = defaultdict(list)
    for event in events:
        by_kind[event.kind].append(event)
    print("| event | number | what came of it | records lost | records that differ | silent acceptances | tracebacks |")
    print("|:---|---:|:---|---:|---:|---:|---:|")
    for kind, own in [*by_kind.items(), ("all", events)]:
        outcomes = Counter(event.outcome for event in own).most_common() if kind != "all" else []
        came = ", ".join(f"{outcome} {number}" for outcome, number in outcomes)
        sums = (sum(getattr(event, name) for event in own) for name in ("lost", "differs", "silent", "tracebacks"))
        print(f"| {kind} | {len(own)} | {came} | {' | '.join(map(str, sums))} |")
    print(f"\n{len(events)} events in {seconds:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*SHARES], help="events of this kind alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every event to this file, as they come")
    given = parser.parse_args()
    rng, begin = random.Random(given.seed), time.monotonic()
    shorten()
    with tempfile.TemporaryDirectory(prefix="reliability-") as root:
        campaign = Campaign(Path(root), rng)
        kinds = (
            [given.only] * given.events if given.only else rng.choices([*SHARES], [*SHARES.values()], k=given.events)
        )
        events = []
        for number, kind in enumerate(kinds):
            event = campaign.play(kind, number)
            events.append(event)
            line = f"[{number + 1}/{len(kinds)}] {kind}: {event.what}: {event.outcome}{'  FAILED' * event.failed}"
            print(line, file=sys.stderr, flush=True)
            if given.json:
                given.json.write_text(json.dumps([vars(one) for one in events], indent=1) + "\n")
    write_report(events, time.monotonic() - begin)
    sys.exit(any(event.failed for event in events))


if __name__ == "__main__":
    main()
