"""`repro hypotheses`: what the mini profile answers to the paper's statements."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from repro.cli import options
from repro.cli.findings import print_left_out
from repro.cli.terminal_table import align_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from repro.paper import Table
    from repro.records import Record
    from repro.verification.hypotheses import Answer


def command(
    table: options.AnyTable = None, results: options.Results = options.RESULTS, json: options.Json = False
) -> None:
    """Test the paper's statements in the mini profile: holds, contrary, equivalent within a margin, or undecided.

    The statements and their tests are in tables/hypotheses.yaml, one family for each table, adjusted after Holm.
    For what is undecided it is estimated how many seeds would decide it. Exits with 0 whatever is found. Records that
    are not what they say are left out and named on standard error; `repro verify` fails because of them.

    Example: repro hypotheses --table 2
    """
    from repro import paper
    from repro.records import open_results
    from repro.verification.integrity import admit

    chosen = paper.load_all() if table is None else (paper.load(table),)
    admitted = admit(open_results(results))
    print_left_out(admitted, chosen)
    records = admitted.records
    if json:
        import json as json_

        from repro.verification.hypotheses import answer_table
        from repro.verification.power import estimate_power

        output = []
        for loaded in chosen:
            for way, answers in answer_table(loaded, records):
                power = estimate_power(answers)
                output += [
                    {"way": way, **a.as_dict()}
                    | {"would_decide": str(power[a.hypothesis.id]) if a.hypothesis.id in power else None}
                    for a in answers
                ]
        print(json_.dumps(output, indent=1, ensure_ascii=False, allow_nan=False))
        return
    written = [text for loaded in chosen if (text := write_answers(loaded, records))]
    print("\n\n".join(written) or f"Of Table {chosen[0].number}, tables/hypotheses.yaml has no statement.")


def write_answers(table: Table, records: Sequence[Record], processes: int = 1) -> str:
    """Write what the mini profile answers to the statements of a table; empty where nothing is asked.

    Args:
        records: those without findings (`integrity.admit`).
        processes: that would measure more seeds side by side.
    """
    from repro.verification.hypotheses import answer_table
    from repro.verification.power import measure_seed

    ways, seconds = answer_table(table, records), measure_seed(table, records)
    families = []
    for way, answers in ways:
        if answers:
            pace = seconds[way] / processes if way in seconds else None
            text = _write_family(table, way if len(ways) > 1 else "", answers, pace)
            side = "in one process" if processes == 1 else f"in {processes} processes side by side"
            if "more minute" in text:
                text += (
                    f"\nMinutes are of all experiments of the table, {side}, as long as they took so far, and of what "
                    "they start from."
                )
            families.append(text)
    return "\n\n".join(families)


def _write_family(table: Table, way: str, answers: Sequence[Answer], pace: float | None) -> str:
    """Write one family of answers; `pace`: seconds that one more seed of the whole table takes, where that is known."""
    from repro.rendering.grid import write_p, write_signed
    from repro.verification.hypotheses import count_answers, describe_conditions
    from repro.verification.power import estimate_power

    power = estimate_power(answers)
    lines = [("statement", "n", "effect", "p", "adjusted p", "answer", "")]
    for answer in answers:
        numbers = ("", "", "", "")
        if answer.effect is not None:
            p, adjusted = map(write_p, answer.p_values)
            numbers = (str(len(answer.seeds)), write_signed(answer.effect, 1), p, adjusted)
        would = power.get(answer.hypothesis.id)
        more = ""
        if would and would.seeds and pace is not None:
            minutes = math.ceil((would.seeds - len(answer.seeds)) * pace / 60)
            more = f", {minutes} more minute{'' if minutes == 1 else 's'}"
        why = "; ".join(filter(None, (answer.reason, "" if would is None else f"{would}{more}")))
        lines.append((answer.hypothesis.says, *numbers, answer.shown, why))
    title = f"Table {table.number}: the paper's statements in the MINI profile (tables/hypotheses.yaml)"
    title += f", {way}" if way else ""
    text = [title, *(f"  {line}" for line in align_columns(lines)), "", count_answers(answers)]
    text += describe_conditions(answers)
    return "\n".join(text)
