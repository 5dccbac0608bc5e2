"""What the rules of judgement do to simulated trainings, also where the prior is wrong (figures: operating.md).

python benchmarks/operating.py
"""

from __future__ import annotations

from repro import paper
from repro.paper import tolerances
from repro.verification.operating import simulate_table

SPREADS = (0.67, 1.0, 1.33, 2.0)  #: the true standard deviation over seeds, in units of sigma_0


def main() -> None:
    """Print, in percent, how often a perfect replication exits with 1, and a block without effect is compatible."""
    rules = tolerances.load()
    heads = ("table", "n", "sigma / sigma_0", "perfect: compatible", "indistinct", "exit 1", "no effect: compatible",
             "indistinct")  # fmt: skip
    print(f"| {' | '.join(heads)} |")
    print(f"|{'---:|' * len(heads)}")
    for table in paper.load_all():
        for n in (1, 3, 5):
            for spread in SPREADS:
                right = simulate_table(table, rules, n, 0.0, spread=spread)
                wrong = simulate_table(table, rules, n, 1.0, spread=spread)
                shares = (right.compatible, right.indistinct, right.fails, wrong.compatible, wrong.indistinct)
                shown = " | ".join(f"{100 * share:.1f}" for share in shares)
                print(f"| {table.number} | {n} | {spread:g} | {shown} |")


if __name__ == "__main__":
    main()
