"""The paper audited against itself: what its text claims, computed from its own cells and from our records.

Every claim stands in `tables/claims.yaml` as an expression over cells (`repro.paper.expressions`). `docs/claims.md` has
the rules and the findings. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, ValidationInfo, model_validator

from repro.errors import ReproError
from repro.files.schema import describe_violation
from repro.files.yaml_files import load_yaml
from repro.paper import COLUMNS, Cell
from repro.paper.expressions import (
    Combination,
    Expression,
    Inequality,
    Number,
    Parser,
    Range,
    Reading,
    Statement,
    as_printed,
)
from repro.paths import PUBLISHED, TABLES
from repro.records import Store
from repro.verification.claims.agreement import Agreement, judge_number, judge_statement, list_reasons
from repro.verification.claims.measured_values import Measured, Unmeasured
from repro.verification.claims.uncertainty import Estimate

CLAIMS = TABLES / "claims.yaml"

ClaimVerdict = Literal["holds", "holds within rounding", "does not follow"]
CLAIM_VERDICTS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)

#: "conflict": measured in one way, ours agree; in another, they disagree.
OursVerdict = Literal["agrees", "disagrees", "conflict", "undecided", "not measured", "not comparable"]
OURS: tuple[OursVerdict, ...] = get_args(OursVerdict)
#: Of several ways, none of which is preferred, the worst is said of the claim.
_WORST_FIRST: tuple[OursVerdict, ...] = ("disagrees", "not comparable", "undecided", "agrees")

#: Kinds that print a number; the others print a comparison.
NUMERIC = ("number", "difference", "ratio", "relative increase", "added parameters", "less than")
_PRINTED = re.compile(r"~?(?P<number>\d+(\.\d+)?)(?P<unit>%|M|G|)")


def _parse(content: object, info: ValidationInfo) -> Expression:
    expression = Parser((info.context or {})["published"]).parse(content)
    try:
        expression.evaluate(as_printed)
    except ZeroDivisionError:
        raise ValueError("divides by what may be zero, given the rounding of the cells") from None
    return expression


class Claim(BaseModel):
    """One claim of the paper's text. A sentence with several numbers is several claims."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    section: str = Field(pattern=r"^(abstract|\d(\.\d){0,2})$")
    quote: str = Field(min_length=1, description="the few words of the paper that carry the claim")
    claim: str = Field(min_length=1, description="what it says, in our words")
    kind: Literal[
        "number", "difference", "ratio", "relative increase", "added parameters", "less than",
        "ordering", "on par", "in all rows", "generally",
    ]  # fmt: skip
    printed: str | None = Field(None, description="the number as it is printed, with its unit")
    stands_for: str | None = Field(None, description="the decimal that a printed fraction or formula comes to")
    expression: Annotated[Expression, PlainValidator(_parse)]
    reading: str | None = Field(None, min_length=1, description="how a word without a number was read")
    note: str | None = Field(None, min_length=1, description="other readings, and what becomes of them")

    @model_validator(mode="after")
    def _check_whole(self) -> Claim:
        if (self.kind in NUMERIC) != (self.printed is not None):
            raise ValueError(f"kind {self.kind!r} {'needs a' if self.kind in NUMERIC else 'has no'} printed number")
        if (self.kind in NUMERIC) == isinstance(self.expression, Statement):
            raise ValueError(
                f"the expression of kind {self.kind!r} is not a {'number' if self.printed else 'statement'}"
            )
        if self.printed is not None and _PRINTED.fullmatch(self.stands_for or self.printed) is None:
            raise ValueError(f"{self.stands_for or self.printed!r} is not a decimal with or without a unit")
        return self

    @property
    def number(self) -> Range:
        """The range that the printed number stands for, by its precision.

        Raises:
            ValueError: the claim prints a comparison.
        """
        if self._match is None:
            raise ValueError(f"claim {self.id} prints no number")
        value, half = Fraction(self._match["number"]), Fraction(1, 2 * 10**self.decimals)
        return Range(value - half, value, value + half)

    @property
    def decimals(self) -> int:
        """Printed decimals of the number; 0 for a comparison."""
        return len(self._match["number"].partition(".")[2]) if self._match else 0

    @property
    def unit(self) -> str:
        return self._match["unit"] if self._match else ""

    @property
    def _match(self) -> re.Match[str] | None:
        return _PRINTED.fullmatch(self.stands_for or self.printed) if self.printed else None

    @property
    def parts(self) -> tuple[Number | Inequality, ...]:
        """The number that is computed, or the comparisons that are combined."""
        return self.inequalities if isinstance(self.expression, Statement) else (self.expression,)

    @property
    def inequalities(self) -> tuple[Inequality, ...]:
        """The comparisons that are combined, each once; none where the claim prints a number."""
        if isinstance(self.expression, Statement):
            return tuple(dict.fromkeys(self.expression.comparisons()))
        return ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that the claim is derived from, each once, in the order of the expression."""
        return tuple(dict.fromkeys(self.expression.cells()))


@dataclass(frozen=True)
class Computed:
    """What the printed numbers make of a claim: `arithmetic` shows how, `value` is the result where one is printed.

    `certain`: it holds for all numbers that round to the cells, and not only for the printed ones.
    """

    verdict: ClaimVerdict
    arithmetic: str
    value: Range | None = None
    certain: bool = False

    @property
    def shown(self) -> str:
        """The verdict; of one that holds, whether under every rounding of the cells."""
        if self.verdict != "holds":
            return self.verdict
        return "holds under every rounding" if self.certain else "holds at the midpoints"


@dataclass(frozen=True)
class Compared:
    """What our numbers, measured in one way, make of a claim.

    `half`: the limit of the decision, how far the print may lie from `value` and agree, where a number is printed. It
    is no confidence interval (benchmarks/operating.md). `way` is empty where all are counts.
    """

    way: str
    agreement: Agreement | Literal["not comparable"]
    arithmetic: str
    value: float | None = None
    half: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Audited:
    """A claim, what the paper's own cells make of it, and what our measurements do."""

    claim: Claim
    published: Computed
    ours: tuple[Compared, ...] | Unmeasured  #: of each way of measuring

    @property
    def ours_verdict(self) -> OursVerdict:
        """The worst of the ways, or that they are in conflict."""
        if isinstance(self.ours, Unmeasured):
            return "not measured" if self.ours.missing else "not comparable"
        found = {one.agreement for one in self.ours}
        return "conflict" if {"agrees", "disagrees"} <= found else next(word for word in _WORST_FIRST if word in found)

    @property
    def ways(self) -> tuple[Compared, ...]:
        """What each way of measuring makes of it; none where nothing was measured."""
        return () if isinstance(self.ours, Unmeasured) else self.ours

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The cells that were not measured here."""
        return self.ours.missing if isinstance(self.ours, Unmeasured) else ()

    @property
    def unlike(self) -> tuple[tuple[str, str], ...]:
        """(metric, comparison) where a claim that names no metric is false in another than the headline metrics."""
        expression = self.claim.expression
        others = expression.elsewhere() if isinstance(expression, Combination) else ()
        return tuple(
            (COLUMNS[next(other.cells()).column].heading, other.text(_write_printed))
            for other in others
            if not other.evaluate(as_printed).possible
        )

    def as_dict(self) -> dict[str, object]:
        """The fields for JSON: the claim's own fields, its cells, then both verdicts."""
        claim, published, ours = self.claim, self.published, self.ours
        return {
            **claim.model_dump(exclude={"expression"}),
            "expressions": [expression.text(lambda cell: cell.address) for expression in claim.parts],
            "cells": {cell.address: cell.printed for cell in claim.cells},
            "published": _describe(published)
            | {"verdict": published.verdict, "under_every_rounding": published.certain},
            "unlike": [{"metric": metric, "comparison": text} for metric, text in self.unlike],
            "ours": _describe_ours(ours)
            | {"verdict": self.ours_verdict, "missing": [cell.address for cell in self.missing]},
        }


def _describe_ours(ours: tuple[Compared, ...] | Unmeasured) -> dict[str, object]:
    """The fields for JSON."""
    if isinstance(ours, Unmeasured):
        return {"reason": ours.reason, "ways": []}
    ways = [
        {"way": one.way or "counted", "verdict": one.agreement, "arithmetic": one.arithmetic, "value": one.value,
         "limit": one.half, "reason": one.reason}
        for one in ours
    ]  # fmt: skip
    return {"reason": "", "ways": ways}


def _describe(computed: Computed) -> dict[str, object]:
    """The fields for JSON."""
    value = computed.value
    if value is None:
        return {"arithmetic": computed.arithmetic}
    return {
        "arithmetic": computed.arithmetic,
        "value": float(value.value),
        "low": float(value.low),
        "high": float(value.high),
    }


def load(path: Path = CLAIMS, published: Path = PUBLISHED) -> tuple[Claim, ...]:
    """All claims, checked, in the order of the paper.

    Raises:
        ReproError: the file is malformed, or a claim names a cell that the paper does not have; the message names file,
            claim and key.
    """
    content = load_yaml(path)
    if not isinstance(content, list):
        raise ReproError(f"{path} must be a list of claims")
    claims: dict[str, Claim] = {}
    for place, item in enumerate(content, 1):
        name = item.get("id", place) if isinstance(item, dict) else place
        try:
            claim = Claim.model_validate(item, context={"published": published})
        except ValidationError as error:
            raise ReproError(f"{path}: claim {name!r}: {describe_violation(error, 'claim')}") from None
        if claim.id in claims:
            raise ReproError(f"{path}: claim {name!r}: id: stands twice")
        claims[claim.id] = claim
    return tuple(claims.values())


def audit(claims: Sequence[Claim], store: Store) -> tuple[Audited, ...]:
    """Compute each claim from the published cells and, where they are measured at full size, from ours.

    Raises:
        ReproError: a record is damaged; the file is named.
    """
    measured = Measured(store)
    return tuple(Audited(claim, compute(claim), _compare_with_ours(claim, measured)) for claim in claims)


def compute(claim: Claim) -> Computed:
    """Compute a claim from its cells as they are printed.

    A printed number holds if the computed one is equal at its precision, and within rounding if any value within the
    bounds of the cells is. Bounds are never too narrow: what does not follow is impossible, and what holds under every
    rounding does so.
    """
    expression = claim.expression
    if isinstance(expression, Statement):
        truth = expression.evaluate(as_printed)
        arithmetic = _list_false(claim, as_printed, _write_printed)
        return Computed(_decide(truth.holds, truth.possible), arithmetic, certain=truth.certain)
    result, printed, decimals = expression.evaluate(as_printed), claim.number, claim.decimals
    if claim.kind == "less than":
        verdict = _decide(result.value < printed.value, result.low < printed.value)
        certain = result.high < printed.value
    else:
        verdict = _decide(
            printed.low <= result.value <= printed.high, result.low <= printed.high and printed.low <= result.high
        )
        certain = printed.low <= result.low and result.high <= printed.high
    text = f"{expression.text(_write_printed)} = {_write_decimal(result.value, decimals)}{claim.unit}"
    if verdict != "holds" and result.low < result.high:
        text += f", with rounding {_write_decimal(result.low, decimals)} to {_write_decimal(result.high, decimals)}"
    return Computed(verdict, text, result, certain)


def _compare_with_ours(claim: Claim, measured: Measured) -> tuple[Compared, ...] | Unmeasured:
    """Do the same arithmetic with our numbers, of each way of measuring."""
    ways = measured.read(claim.cells)
    if isinstance(ways, Unmeasured):
        return ways
    return tuple(_compare(claim, way, estimates) for way, estimates in ways)


def _compare(claim: Claim, way: str, estimates: Mapping[Cell, Estimate]) -> Compared:
    def read(cell: Cell) -> Range:
        return Range.exactly(estimates[cell].value)

    def shown(cell: Cell) -> str:
        return f"{float(estimates[cell].value):.{cell.decimals + 1}f}"

    reason = list_reasons(claim.cells, estimates)
    expression = claim.expression
    if isinstance(expression, Statement):
        return Compared(way, judge_statement(expression, estimates), _list_false(claim, read, shown), reason=reason)
    try:
        agreement, half = judge_number(
            expression, claim.number, estimates, below=claim.kind == "less than",
            effect=claim.kind in ("difference", "relative increase"),
        )  # fmt: skip
        value = expression.evaluate(read).value
    except ZeroDivisionError:
        return Compared(way, "not comparable", "", reason="two of its numbers are the same, and it divides by their "
                        "difference")  # fmt: skip
    text = f"{expression.text(shown)} = {_write_decimal(value, claim.decimals)}{claim.unit}"
    if half is not None:
        text += f" (limit {half:.{claim.decimals + 1}f})"
    return Compared(way, agreement, text, float(value), half, reason)


def _decide(holds: bool, possible: bool) -> ClaimVerdict:
    return "holds" if holds else "holds within rounding" if possible else "does not follow"


def _list_false(claim: Claim, reading: Reading, shown: Callable[[Cell], str]) -> str:
    """Write the comparison if there is one; of several, how many are true, and those that are not."""
    every = claim.inequalities
    false = [comparison for comparison in every if not comparison.evaluate(reading).holds]
    if len(every) == 1:
        return ("not " if false else "") + every[0].text(shown)
    text = f"{len(every) - len(false)} of {len(every)} comparisons"
    return text + (": not " + ", ".join(comparison.text(shown) for comparison in false) if false else "")


def _write_printed(cell: Cell) -> str:
    return f"{cell.value:.{cell.decimals}f}"


def _write_decimal(value: Fraction, decimals: int) -> str:
    """Write a value with one digit more than `decimals` if that digit is not zero."""
    text = f"{float(value):.{decimals + 1}f}"
    return text.removesuffix("0").removesuffix(".") if text.endswith("0") else text
