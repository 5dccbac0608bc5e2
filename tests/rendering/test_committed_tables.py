"""`repro tables`: the committed tables are renderings of the committed records, and what is not one is named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT

from repro import cli
from repro.errors import ReproError
from repro.records import Store
from repro.rendering import committed_tables

NAMES = {f"table{number}.{form}" for number in range(1, 6) for form in ("md", "tex", "csv")}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """Renderings of the committed records."""
    directory = tmp_path_factory.mktemp("generated")
    paths = committed_tables.write(directory=directory)
    assert {path.name for path in paths} == NAMES == {path.name for path in directory.iterdir()}
    return directory


@pytest.fixture
def directory(rendered, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(rendered, tmp_path / "generated")


def test_renderings_of_the_same_records_have_the_same_bytes(directory):
    assert committed_tables.find_differences(directory=directory) == []


def test_groups_without_a_letter_have_no_empty_one(rendered):
    """Tables 4 and 5 have one group each, and orders of their rows."""
    text = "".join((rendered / f"table{number}.md").read_text() for number in (4, 5))
    assert "+all GC > baseline" in text
    assert "()" not in text


def test_another_byte_is_found_and_its_line_named(directory):
    path = directory / "table2.md"
    lines = path.read_text().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if line.startswith("|"))
    lines[number] = "!" + lines[number][1:]
    path.write_text("".join(lines))
    (found,) = committed_tables.find_differences(directory=directory)
    assert found.startswith(f"{path} is not a rendering of the records: line {number + 1} is '!")
    assert ", should be '|" in found


def test_a_difference_far_to_the_right_is_shown(directory):
    path = directory / "table1.md"
    lines = path.read_text().splitlines(keepends=True)
    number = max(range(len(lines)), key=lambda n: len(lines[n]))
    lines[number] = lines[number][:-20] + "X" + lines[number][-19:]
    path.write_text("".join(lines))
    (found,) = committed_tables.find_differences(directory=directory)
    assert f"line {number + 1} is '..." in found
    shown, should = found.split(", should be ")
    assert "X" in shown
    assert len(should) < 130


def test_only_line_ends(directory):
    path = directory / "table3.csv"
    path.write_bytes(
        path.read_bytes().replace(b"\r\n", b"\n") if b"\r\n" in path.read_bytes() else path.read_bytes() + b"\n"
    )
    (found,) = committed_tables.find_differences(directory=directory)
    assert str(path) in found


def test_a_file_cut_short(directory):
    path = directory / "table4.tex"
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
    (found,) = committed_tables.find_differences(directory=directory)
    assert (
        f"{path} is not a rendering of the records: line {content.count(chr(10).encode())} is not there, should be"
        in found
    )


def test_missing_and_foreign_files_are_named(directory):
    (directory / "table5.csv").unlink()
    (directory / "table6.md").write_text("")
    assert committed_tables.find_differences(directory=directory) == [
        f"{directory / 'table5.csv'} is missing",
        f"{directory / 'table6.md'} is not among the renderings",
    ]


def test_without_records_there_is_nothing_to_render(tmp_path):
    for call in (committed_tables.write, committed_tables.find_differences):
        with pytest.raises(ReproError, match="does not exist"):
            call(tmp_path / "records", tmp_path)


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["repro", "tables", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0


def test_the_command(monkeypatch, directory, capsys):
    monkeypatch.setattr(committed_tables.find_differences, "__defaults__", (committed_tables.REFERENCE, directory))
    monkeypatch.setattr(committed_tables.write, "__defaults__", (committed_tables.REFERENCE, directory))
    assert run(monkeypatch, "--check") == 0
    assert "is a rendering of the records" in capsys.readouterr().out
    (directory / "table2.tex").write_text("by hand\n")
    assert run(monkeypatch, "--check") == 1
    out = capsys.readouterr().out
    assert "table2.tex is not a rendering of the records: line 1 is 'by hand', should be '% Table 2" in out
    assert (directory / "table2.tex").read_text() == "by hand\n"
    assert run(monkeypatch) == 0
    capsys.readouterr()
    assert run(monkeypatch, "--check") == 0


def test_committed_records_name_no_directory_of_a_machine():
    committed = Store(committed_tables.REFERENCE).all()
    assert committed
    for record in committed:
        assert not [word for word in record.command.split() if word.startswith(("/", "~"))], record.filename


@pytest.fixture(scope="module")
def installed(rendered, tmp_path_factory):
    """A copy of the package as a wheel installs it: what `force-include` of pyproject.toml names lies inside.

    Its tables are rendered by this checkout.
    """
    site = tmp_path_factory.mktemp("site-packages")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "repro", site / "repro", ignore=ignored)
    section = (ROOT / "pyproject.toml").read_text().split("[tool.hatch.build.targets.wheel.force-include]\n")[1]
    for source, target in re.findall(r'^"?([\w.]+)"? = "([\w./]+)"$', section.split("\n\n")[0], re.MULTILINE):
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, site / target)
    shutil.copytree(rendered, site / "repro" / "tables" / "generated", dirs_exist_ok=True)
    return site


def run_installed(site, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "repro", "tables", *arguments],
        cwd=site.parent, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True,
    )  # fmt: skip


def test_an_installed_package_checks_its_tables_and_does_not_write_them(installed):
    generated = installed / "repro" / "tables" / "generated"
    before = {path: path.stat().st_mtime_ns for path in generated.iterdir()}
    refused = run_installed(installed)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"error: {generated} belongs to an installed package, which is not written into.")
    assert {path: path.stat().st_mtime_ns for path in generated.iterdir()} == before
    checked = run_installed(installed, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith(f"every file in {generated} is a rendering of the records in")
    shutil.rmtree(installed / "repro" / "tables" / "reference")
    missing = run_installed(installed, "--check")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "does not exist: the committed tables are rendered from the records there" in missing.stderr
