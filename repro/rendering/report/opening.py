"""What the page opens with: in a few numbers what is measured, counted and asked, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from repro.paper import COLUMNS
from repro.verification.claims.audit import Audited
from repro.verification.coverage import Coverage
from repro.verification.hypotheses import Answer, Word
from repro.verification.verdicts import CellVerdict, Verdict


@dataclass(frozen=True)
class Fact:
    """One number of the opening: `figure` of `about`, what came of it, and where the page has more."""

    figure: str
    about: str
    outcome: str
    anchor: str
    kind: str  #: as of a verdict: how it is coloured


def list_facts(
    cells: Sequence[CellVerdict], claims: Sequence[Audited], answers: Sequence[tuple[int, str, Sequence[Answer]]]
) -> tuple[Fact, ...]:
    """List what a reader wants to know first.

    Args:
        cells: of all tables.
        answers: (table, way, answers) of what the mini profile was asked.
    """
    measured = Coverage.count([cell for cell in cells if COLUMNS[cell.cell.column].measured])
    counted = Coverage.count([cell for cell in cells if not COLUMNS[cell.cell.column].measured])
    return (
        Fact(
            f"{measured.measured.here} of {measured.measured.total}",
            "accuracies and distances of attention measured by the paper's protocol",
            _describe_measured(measured), "coverage", _find_worst(measured, measured.measured.here),
        ),
        Fact(
            f"{counted.counted.here} of {counted.counted.total}",
            "parameters and FLOPs counted, of the full-size networks",
            _describe_counted(counted), "coverage", _find_worst(counted, counted.counted.here),
        ),
        _describe_claims(claims),
        _describe_answers([answer for *_, own in answers for answer in own]),
    )  # fmt: skip


def _describe_measured(coverage: Coverage) -> str:
    named: tuple[Verdict, ...] = ("compatible", "indistinct", "off", "conflict", "inconclusive")
    numbers = [(coverage[verdict], verdict) for verdict in named if coverage[verdict] or verdict == "off"]
    parts = [f"{number} cell{'' if number == 1 else 's'} {verdict}" for number, verdict in numbers]
    if coverage.measured.here:
        return ", ".join([*parts, f"{coverage['not run']} not run"])
    reasons = [reason for reason, _ in coverage.reasons.get("not run", Counter()).most_common()]
    return f"No cell is confirmed or refuted: {'; '.join(reasons)}"


def _describe_counted(coverage: Coverage) -> str:
    if not coverage.counted.here:
        return "`repro complexity` counts them in seconds"
    near = coverage["match"] - coverage.same
    parts = [f"{coverage.same} cells print the same", f"{near} within the rule for counts"]
    parts += [f"{coverage['ledger']} explained in the ledger", f"{coverage['off']} off"]
    return ", ".join(parts)


def _describe_claims(claims: Sequence[Audited]) -> Fact:
    words = Counter(one.published.verdict for one in claims)
    follow = words["holds"] + words["holds within rounding"]
    outcome = f"{words['holds within rounding']} of them only within rounding"
    if not_so := words["does not follow"]:
        outcome += f"; {not_so} do{'es' if not_so == 1 else ''} not follow"
    about = "claims of the paper's text follow from its own tables"
    return Fact(f"{follow} of {len(claims)}", about, outcome, "claims", "off" if not_so else "match")


def _describe_answers(answers: Sequence[Answer]) -> Fact:
    words = Counter(answer.word for answer in answers)
    asked = sum(words.values()) - words["not run"]
    about = "statements of the paper asked of scaled-down networks on generated data (no printed number is compared)"
    named: dict[Word, tuple[str, str]] = {
        "holds": ("holds", "hold"), "equivalent": ("is within its margin", "are within their margins"),
        "contrary": ("is contrary", "are contrary"), "undecided": ("is undecided", "are undecided"),
    }  # fmt: skip
    parts = [f"{words[word]} {one if words[word] == 1 else more}" for word, (one, more) in named.items()]
    outcome = ", ".join(parts) if asked else "`repro reproduce --table 2` trains them"
    kind = "not run" if not asked else "off" if words["contrary"] else "match" if words["holds"] else "inconclusive"
    return Fact(f"{asked} of {len(answers)}", about, outcome, "mini", kind)


def _find_worst(coverage: Coverage, here: int) -> str:
    if not here:
        return "not run"
    return next((word for word in ("off", "conflict", "inconclusive", "indistinct") if coverage[word]), "match")
