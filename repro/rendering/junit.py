"""Verdicts as a JUnit report, which continuous integration shows cell by cell.

Keeps to the schema of Ant's JUnit reports (github.com/windyroad/JUnit-Schema) and to that of Jenkins' xUnit plugin. A
cell that is off fails; one that was not run or is inconclusive is skipped, with the reason, and never passes.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from datetime import datetime

from repro.paper import COLUMNS
from repro.verification.verdicts import CellVerdict, Verified, coverage


def report(verified: Verified, at: datetime) -> bytes:
    """The XML: a suite of the records, then one of each table with a case for each cell.

    Args:
        at: when it was verified.
    """
    root = ElementTree.Element("testsuites")
    suites = [("records", _records(verified), "")]
    for verification in verified.verifications:
        cases = [_cell(verdict) for verdict in verification.cells]
        suites.append((f"Table {verification.table.number}", cases, coverage(verification.cells)))
    for number, (name, cases, output) in enumerate(suites):
        root.append(_suite(number, name, cases, output, at))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(
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
    ElementTree.SubElement(suite, "system-out").text = _printable(output)
    ElementTree.SubElement(suite, "system-err")
    return suite


def _records(verified: Verified) -> list[ElementTree.Element]:
    """A failed case for every record that is not what it says, or one that passes."""
    cases = [_case("records", finding.file) for finding in verified.findings]
    for case, finding in zip(cases, verified.findings, strict=True):
        ElementTree.SubElement(case, "failure", type="record", message=_printable(str(finding)))
    return cases or [_case("records", "every record is what it says")]


def _cell(verdict: CellVerdict) -> ElementTree.Element:
    cell = verdict.cell
    group = f".{cell.group}" if cell.group else ""
    case = _case(f"table{cell.table}{group}", f"{cell.row}, {COLUMNS[cell.column].heading}")
    text = _printable(str(verdict))
    if verdict.verdict == "off":
        failure = ElementTree.SubElement(case, "failure", type="off", message=text)
        failure.text = _printable("\n".join((text, *(f"record: {name}" for name in verdict.records))))
    elif verdict.verdict in ("inconclusive", "not run"):
        ElementTree.SubElement(case, "skipped", message=text)
    return case


def _case(classname: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=classname, name=_printable(name), time="0")


def _printable(text: str) -> str:
    """Without what XML cannot hold: texts may quote what a damaged record says."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
