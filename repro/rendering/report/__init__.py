"""Everything that is known, as one HTML page that needs nothing else: no network, no script.

It draws from the same views as the other formats and judges nothing itself. Same records, same bytes. Imports no torch.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro import paper
from repro.paper import COLUMNS, Cell
from repro.paths import TEMPLATES, sha256
from repro.records import Record, Store
from repro.rendering import view
from repro.rendering.report import plots
from repro.rendering.report.plots import Scatter
from repro.rendering.view import View
from repro.verification import ledger
from repro.verification.claims import audit
from repro.verification.claims.audit import Audited
from repro.verification.effects import row_effects
from repro.verification.effects.row_effects import RowEffects
from repro.verification.ledger import Entry
from repro.verification.verdicts import CellVerdict

#: How a verdict is marked, beside its word.
SYMBOLS = {"match": "✓", "off": "✗", "inconclusive": "?", "ledger": "§", "not run": view.NOT_RUN}
WORDS = {
    "match": "match", "off": "off", "inconclusive": "inconclusive", "ledger": "explained in the ledger",
    "not run": "not run",
}  # fmt: skip
#: Of claims, in the same way.
CLAIM_KINDS = {
    "holds": "match", "holds within rounding": "ledger", "does not follow": "off", "does not hold": "off",
    "not measured": "not run", "not comparable": "inconclusive",
}  # fmt: skip
#: What rows are compared in first, by what the table has of them.


@dataclass(frozen=True)
class Coverage:
    """How the cells of one table fare; `numbers` are by verdict, in the order of `WORDS`."""

    name: str
    anchor: str
    total: int
    numbers: dict[str, int]


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    views: tuple[View, ...]
    coverage: tuple[Coverage, ...]
    costs: tuple[tuple[str, tuple[Scatter, ...]], ...]
    agreement: tuple[Scatter, ...]
    effects: tuple[tuple[int, tuple[RowEffects, ...]], ...]
    claims: tuple[Audited, ...]
    ledger: tuple[tuple[Cell, Entry], ...]
    records: tuple[Record, ...]
    versions: tuple[tuple[str, str], ...]

    @property
    def cells(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for built in self.views for cell in built.verification.cells)

    @property
    def off(self) -> tuple[CellVerdict, ...]:
        return tuple(cell for cell in self.cells if cell.verdict == "off")

    @property
    def unused(self) -> dict[str, str]:
        """Why a record gives no number, by its file name."""
        return {unused.filename: unused.reason for built in self.views for unused in built.verification.unused}


def build(results: Path) -> Report:
    """All five tables and what belongs to them, of what lies in `results`.

    Raises:
        ReproError: a record, a stored effect, the ledger, the claims or the tolerances are damaged; the file is named.
    """
    store = Store(results / "records")
    records, stored = store.all(), row_effects.load(results)
    views = tuple(view.build(table, store) for table in paper.tables())
    paired = []
    for built in views:
        found = row_effects.rows(
            row_effects.pairs(built.verification.table, records, "full"), row_effects.among(stored)
        )
        paired.append((built.number, tuple(row for row in found if row.columns)))
    return Report(
        views=views,
        coverage=_coverage(views),
        costs=tuple((f"Table {built.number}", found) for built in views if (found := plots.costs(built))),
        agreement=plots.agreement(views),
        effects=tuple((number, found) for number, found in paired if found),
        claims=audit.audit(audit.load(), store),
        ledger=_ledger(),
        records=tuple(records),
        versions=_versions(records),
    )


def render(results: Path) -> str:
    """The page.

    Raises:
        ReproError: as `build`.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(code=_code, anchor=anchor, signed=view.signed)
    return environment.get_template("report.html.j2").render(
        report=build(results), symbols=SYMBOLS, words=WORDS, kinds=CLAIM_KINDS, columns=COLUMNS
    )


def anchor(text: str) -> str:
    """`text` as the id of an element: letters, digits, dots and hyphens."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)


def _code(text: str):
    """Text in which `code` is typeset as such."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _coverage(views: Sequence[View]) -> tuple[Coverage, ...]:
    cells = [(f"Table {built.number}", f"table-{built.number}", built.verification.cells) for built in views]
    cells.append(("All five", "coverage", tuple(cell for *_, own in cells for cell in own)))
    counted = []
    for name, where, own in cells:
        number = Counter(cell.verdict for cell in own)
        counted.append(Coverage(name, where, len(own), {verdict: number[verdict] for verdict in WORDS}))
    return tuple(counted)


def _ledger() -> tuple[tuple[Cell, Entry], ...]:
    book = ledger.load()
    cells = (cell for table in paper.tables() for cell in table.cells)
    return tuple((cell, entry) for cell in cells if (entry := book.entry(cell)))


def _versions(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What the records were measured with, all values of each fact; then the lock file of this version."""
    values: dict[str, set[str]] = {}
    for record in records:
        for name, value in record.environment.items():
            if value is not None:
                values.setdefault(name, set()).add(str(value))
    facts = [(name, ", ".join(sorted(found))) for name, found in sorted(values.items())]
    if view.LOCK.exists():
        facts.append((f"{view.LOCK.name} of this version", f"sha256 {sha256(view.LOCK)}"))
    return tuple(facts)
