"""How well our number in the place of a published cell is known, and how far from it another run may lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean, variance

from repro.records import Record

#: Degrees of freedom of what is known from thousands of items: as good as normal.
_MANY = 1000


@dataclass(frozen=True)
class Estimate:
    """Our number for one cell.

    `mean_variance` is that of our mean over seeds, `run_variance` that of one run, which is what the paper prints; both
    are zero for counts, and `run_variance` is for the authors' own weights, which are the run that was printed. `bound`
    is how far the number may lie off for reasons that do not average out. `relative` is the share of the variances that
    remains when scatter beyond the prior is not granted. `reason` says why nothing is known of the scatter.
    """

    value: Fraction
    mean_variance: float = 0.0
    run_variance: float = 0.0
    freedom: int = _MANY
    bound: float = 0.0
    relative: float = 1.0
    reason: str = ""

    @property
    def exact(self) -> bool:
        return not (self.mean_variance or self.run_variance or self.bound or self.reason)


@dataclass(frozen=True)
class SeedScatter:
    """The standard deviation over seeds of one column, with its degrees of freedom; shrunk to the prior `declared`."""

    deviation: float
    freedom: int
    declared: float


def shrink_scatter(runs: Sequence[Sequence[float]], declared: float, freedom: int) -> SeedScatter:
    """Estimate how one column scatters over seeds from several rows' runs and a prior worth `freedom` degrees of it.

    >>> shrink_scatter([[38.0], [39.0]], declared=0.15, freedom=10)
    SeedScatter(deviation=0.15, freedom=10, declared=0.15)
    """
    squares = freedom * declared**2 + sum((len(run) - 1) * variance(run) for run in runs if len(run) > 1)
    freedom += sum(len(run) - 1 for run in runs)
    return SeedScatter((squares / freedom) ** 0.5, freedom, declared)


def estimate_trained(run: Sequence[float], scatter: SeedScatter | None) -> Estimate:
    """Estimate from own trainings, one value per seed; without `scatter`, no prior is declared for the column."""
    value, n = Fraction(fmean(run)), len(run)
    if scatter is not None:
        square = scatter.deviation**2
        relative = min(1.0, (scatter.declared / scatter.deviation) ** 2)
        return Estimate(value, square / n, square, scatter.freedom, relative=relative)
    if n < 3:
        return Estimate(value, reason=f"how it scatters over trainings is not known, and {n} is too few to tell")
    return Estimate(value, variance(run) / n, variance(run), n - 1)


def estimate_evaluated(value: float, bound: float | None, record: Record, column: str) -> Estimate:
    """Estimate from weights that others trained: within `bound`, or else within its standard error over items."""
    if bound is not None:
        return Estimate(Fraction(value), bound=bound)
    error = record.require(column).standard_error
    if error is None:
        return Estimate(Fraction(value), reason="its record has no standard error")
    return Estimate(Fraction(value), mean_variance=error**2)
