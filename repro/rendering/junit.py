"""Verdicts as a JUnit report, which continuous integration shows cell by cell.

Keeps to the schema of Ant's JUnit reports (github.com/windyroad/JUnit-Schema) and to that of Jenkins' xUnit plugin. A
cell fails where it makes `repro verify` fail. Another that was not run, is inconclusive or indistinct is skipped, with
the reason, and never passes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from datetime import datetime

from repro.paper import COLUMNS
from repro.verification.coverage import Coverage
from repro.verification.demands import Conclusion
from repro.verification.verdicts import CellVerdict, Verified


def write_report(conclusion: Conclusion, at: datetime) -> bytes:
    """Write the XML: a suite for the records, then one for each table with a case for each cell.

    Where so much must have been measured, a suite for that is the last.

    Args:
        at: when it was verified.
    """
    root = ElementTree.Element("testsuites")
    suites = [("records", _build_record_cases(conclusion.verified), "")]
    for verification in conclusion.verified.verifications:
        cases = [case for verdict in verification.cells for case in _build_cell_cases(verdict, conclusion)]
        suites.append((f"Table {verification.table.number}", cases, Coverage.count(verification.cells).describe()))
    if conclusion.required:
        suites.append(("coverage", [_build_coverage_case(conclusion)], conclusion.coverage.describe()))
    for number, (name, cases, output) in enumerate(suites):
        root.append(_build_suite(number, name, cases, output, at))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _build_suite(
    number: int, name: str, cases: Sequence[ElementTree.Element], output: str, at: datetime
) -> ElementTree.Element:
    def count(outcome: str) -> str:
        return str(sum(case.find(outcome) is not None for case in cases))

    suite = ElementTree.Element(
        "testsuite",
        name=name,
        package="repro",
        id=str(number),
        timestamp=at.strftime("%Y-%m-%dT%H:%M:%S"),
        hostname="localhost",
        tests=str(len(cases)),
        failures=count("failure"),
        errors="0",
        skipped=count("skipped"),
        time="0",
    )
    ElementTree.SubElement(suite, "properties")
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = _make_printable(output)
    ElementTree.SubElement(suite, "system-err")
    return suite


def _build_record_cases(verified: Verified) -> list[ElementTree.Element]:
    """A failed case for every record that is not what it says, or one that passes."""
    cases = [_build_case("records", problem.file) for problem in verified.problems]
    for case, problem in zip(cases, verified.problems, strict=True):
        ElementTree.SubElement(case, "failure", type="record", message=_make_printable(str(problem)))
    return cases or [_build_case("records", "every record is what it says")]


def _build_coverage_case(conclusion: Conclusion) -> ElementTree.Element:
    case = _build_case("coverage", f"{conclusion.required} distinct numbers measured")
    if conclusion.lacking:
        ElementTree.SubElement(case, "failure", type="coverage", message=conclusion.lacking)
    return case


def _build_cell_cases(verdict: CellVerdict, conclusion: Conclusion) -> Iterator[ElementTree.Element]:
    """A case for each way in which a cell was measured, and one for a conflict between them."""
    for one in verdict.ways:
        yield _build_cell_case(one, conclusion, f" [{one.way}]")
    if not verdict.ways or verdict.verdict == "conflict":
        yield _build_cell_case(verdict, conclusion)


def _build_cell_case(verdict: CellVerdict, conclusion: Conclusion, way: str = "") -> ElementTree.Element:
    cell = verdict.cell
    group = f".{cell.group}" if cell.group else ""
    case = _build_case(f"table{cell.table}{group}", f"{cell.row}, {COLUMNS[cell.column].heading}{way}")
    text = _make_printable(str(verdict))
    if conclusion.fails(verdict):
        failure = ElementTree.SubElement(case, "failure", type=verdict.verdict, message=text)
        failure.text = _make_printable("\n".join((text, *(f"record: {name}" for name in verdict.records))))
    elif verdict.verdict in ("indistinct", "inconclusive", "not run"):
        ElementTree.SubElement(case, "skipped", message=text)
    return case


def _build_case(classname: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=classname, name=_make_printable(name), time="0")


def _make_printable(text: str) -> str:
    """Replace what XML cannot hold: texts may quote what a damaged record says."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
