"""What became of each job: what Slurm's queue says, and what the jobs themselves wrote down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from repro.jobs import slurm
from repro.jobs.ledger import FINAL, Entry, Submitted

State = Literal["running", "waiting", "failed", "died", "interrupted", "cancelled", "measured"]
#: In the order in which they are shown.
STATES: tuple[State, ...] = ("running", "waiting", "failed", "died", "interrupted", "cancelled", "measured")
_REASONS = {
    "Dependency": "for another job",
    "BeginTime": "a moment, as everything that was put back into the queue",
    "Resources": "for free nodes",
    "Priority": "for others, which go first",
    "JobArrayTaskLimit": "for others of its array",
    "AssocMaxJobsLimit": "for others of its account",
    "QOSMaxJobsPerUserLimit": "for the user's other jobs",
}


@dataclass(frozen=True)
class JobState:
    """One job, and how it is at this moment."""

    entry: Entry
    label: str
    submitted: Submitted
    state: State
    detail: str
    requeued: int  #: how often it was put back into the queue
    died: int

    @property
    def alive(self) -> bool:
        """Whether it waits or runs, so that it is not to be submitted again."""
        return self.state in ("waiting", "running")


def read_states(entries: Iterable[Entry]) -> list[JobState]:
    """Read how jobs are, with one question to Slurm for all of them.

    Raises:
        ReproError: Slurm does not answer, or a file of a job is damaged.
    """
    found = [(entry, submitted) for entry in entries if (submitted := entry.read_submitted())]
    if not found:
        return []
    queue, cluster = slurm.read_queue(), slurm.read_configuration().name
    states = [_find_state(entry, submitted, queue, cluster) for entry, submitted in found]
    return sorted(states, key=lambda state: (STATES.index(state.state), state.label))


def _find_state(entry: Entry, submitted: Submitted, queue: dict[str, slurm.Queued], cluster: str) -> JobState:
    events = entry.read_events(submitted.job)
    queued = queue.get(submitted.job) if submitted.cluster == cluster else None
    state: State
    final = None
    for event in events:  # what starts again has not ended
        final = event if event.what in FINAL else None if event.what == "started" else final
    if final:
        state, detail = _name(final.what), final.text
    elif queued and not queued.over:
        state = "waiting" if queued.state in ("PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD") else "running"
        detail = f"on {queued.nodes} for {queued.elapsed}"
        if state == "waiting":
            detail = f"waits {_REASONS.get(queued.reason, f'({queued.reason})')}"
    elif events and events[-1].what == "interrupted":
        state, detail = "interrupted", f"by {events[-1].text}; its state is saved: submitted again, it goes on"
    elif queued and queued.state == "CANCELLED":
        state, detail = "cancelled", "by Slurm: by hand, or because a job that it waits for did not end well"
    elif submitted.cluster != cluster:
        state, detail = "died", f"it was submitted on the cluster {submitted.cluster}; this is {cluster}"
    else:
        said = f"Slurm says {queued.state}" if queued else "it is not in Slurm's queue any more"
        state, detail = "died", f"it ended without a word; {said}: its log may say why"
    starts = sum(event.what == "started" for event in events)
    died = sum(event.what == "died" for event in events)
    description = entry.read_description()
    return JobState(entry, description.label, submitted, state, detail, max(0, starts - 1), died)


def _name(what: str) -> State:
    return next(state for state in STATES if state == what)
