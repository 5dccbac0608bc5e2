"""The documents: every link leads somewhere, every command exists, and the front page stays short."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest
import typer.main
import yaml
from places import REFERENCE, ROOT

from repro import paper
from repro.cli import app

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = typer.main.get_command(app)


def without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """What `#...` can follow the name of a page: its headings, in lower case, words joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        # The site shows files: what a page of it links to is one.
        found = file.is_file()
        if not found or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_files_exist(page):
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|yaml|md))`", page.read_text()))
    examples = {"repro/a/b.py", "tests/a/test_b.py"}
    tops = (ROOT, ROOT / "repro")
    assert {name for name in named - examples if not any((top / name).exists() for top in tops)} == set()


def defines(dotted: str) -> bool:
    """Whether `repro.package.module.Name` exists; its source is read, so that nothing has to be installed for it."""
    *parents, name = dotted.split(".")
    if (path := ROOT.joinpath(*parents, name)).is_dir() or path.with_suffix(".py").is_file():
        return True
    home = ROOT.joinpath(*parents)
    source = home / "__init__.py" if home.is_dir() else home.with_suffix(".py")
    return source.is_file() and re.search(rf"\b{name}\b", source.read_text()) is not None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_code_exists(page):
    text = page.read_text()
    named = set(re.findall(r"(?:`|::: )(repro(?:\.\w+)+)", text))
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("repro"):
                named |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert {name for name in named if not defines(name)} == set()


def commands_of(text: str) -> list[list[str]]:
    """The words after `repro` wherever a document shows a command: in code blocks and between backticks."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    shown = (re.search(r"(?:^|[$\s]|-m )repro +([a-z].*)", line) for line in lines)
    return [match[1].split("  #")[0].split(" > ")[0].split() for match in shown if match]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_exist(page):
    unknown = []
    for words in commands_of(page.read_text()):
        command, rest = COMMANDS, words
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        named = {match[1] for word in rest if (match := re.match(r"\[?(--[a-z][a-z0-9-]*)", word))}
        if command is COMMANDS or not named <= options:
            unknown.append(" ".join(["repro", *words]))
    assert unknown == []


def test_the_readme_is_short_and_begins_with_the_two_commands():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 110
    first, second = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[:2]
    assert first == "python -m pip install nox uv && nox -s reproduce-table2\n"
    assert second == "python -m pip install nox uv && nox -s tests\n"


def test_the_readme_quotes_table_2():
    quoted = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(("| **", "| ours"))]
    assert len(quoted) == 6
    assert "\n".join(quoted) in (ROOT / "tables" / "generated" / "table2.md").read_text()


def test_the_readme_says_what_is_verified():
    command = [sys.executable, "-m", "repro", "verify", "--results", str(REFERENCE), "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    cells = [cell for table in json.loads(answer.stdout)["tables"] for cell in table["cells"]]
    counted = [cell for cell in cells if cell["column"] in ("params", "flops")]
    assert all(cell["ours"] is None for cell in cells if cell not in counted)
    explained = Counter((cell["verdict"], bool(cell["note"])) for cell in counted)
    truncated, off = explained["match", True], explained["ledger", True]
    text = " ".join((ROOT / "README.md").read_text().split())
    assert f"{len(cells)} cells" in text
    datasets = {(table.number, group.name): group.dataset for table in paper.load_all() for group in table.groups}
    distinct = {(c["experiment"], datasets[c["table"], c["group"]], c["column"]) for c in cells if c not in counted}
    assert f"{len(cells) - len(counted)} cells: none of the {len(distinct)} distinct numbers has been measured" in text
    once = len({(cell["experiment"], cell["column"]) for cell in counted})
    assert f"{len(counted)} cells of Tables 2 to 5: all {once} distinct numbers counted" in text
    same = sum(cell["verdict"] == "match" and cell["delta"] == 0 for cell in counted)
    near = explained["match", False] - same
    assert f"{same} cells print the same, {near} FLOPs are one printed digit off and {truncated} parameters" in text
    assert f"truncated. {off} cells do not match. " in text
    answers = re.search(
        r"Of 10 statements of the paper, (\d+) holds?, (\d+) (?:is|are) equivalent within the margin, (\d+) (?:is|are) "
        r"contrary and (\d+) (?:is|are) undecided \(n = 8 seeds\)",
        (ROOT / "tables" / "generated" / "table2.md").read_text(),
    )
    holding, equivalent, contrary, undecided = (int(number) for number in answers.groups())
    assert holding == 1  # of which the verb below is
    decided = f"{holding} holds, {equivalent} are equivalent within a margin, {contrary} are contrary"
    assert f"with eight seeds {decided} and {undecided} are undecided" in text


def test_the_layout_has_every_package_and_the_layers_of_the_contract():
    text = (ROOT / "docs" / "layout.md").read_text()
    packages = {f"| `{path.parent.name}/` |" for path in (ROOT / "repro").glob("*/__init__.py")}
    assert {package for package in packages if package not in text} == set()
    layers = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)[1]
    assert "```text\n" + "".join(f"{layer}\n" for layer in re.findall(r'"(.*)"', layers)) + "```" in text


def test_a_how_to_is_read_at_a_glance():
    lengths = {page.name: len(page.read_text().splitlines()) for page in (ROOT / "docs" / "how-to").glob("*.md")}
    assert len(lengths) == 10
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_the_site_has_every_page():
    def paths(entry) -> list[str]:
        if isinstance(entry, dict):
            return [path for value in entry.values() for path in paths(value)]
        return [path for part in entry for path in paths(part)] if isinstance(entry, list) else [entry]

    configuration = re.search(r"^nav:\n.*", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE | re.DOTALL)
    inside = {path for path in paths(yaml.safe_load(configuration[0])["nav"]) if not path.startswith("source/")}
    assert inside == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_nothing_outside_the_repository_is_named(page):
    assert "../shared" not in page.read_text()


def test_the_page_on_the_protocol_names_every_reading():
    """Each where it decides a point, so that nobody looks for it in vain; and no reading that there is not."""
    page = (ROOT / "docs" / "protocol.md").read_text()
    named = {
        name for names in re.findall(r"Readings? ((?:`[\w-]+`(?:, )?)+)", page) for name in re.findall(r"[\w-]+", names)
    }
    assert named == {reading["point"] for reading in yaml.safe_load((ROOT / "tables" / "readings.yaml").read_text())}
