"""The composite action's own steps, executed by bash as a runner would, and what the workflows must keep to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml
from places import REFERENCE, ROOT
from samples import published, record

from repro import paper
from repro.records import Store

ACTIONS = ROOT / ".github" / "actions" / "verify"
ACTION = yaml.safe_load((ACTIONS / "action.yml").read_text())
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
INSTALL, VERIFY = (step for step in ACTION["runs"]["steps"] if "run" in step)
TABLE = paper.load(2)


class Runner:
    """What a runner of GitHub does with a composite action, as far as this one needs it."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.workspace, self.temporary = directory / "workspace", directory / "temporary"
        self.summary, self.output = directory / "summary.md", directory / "output"
        for made in (self.workspace, self.temporary):
            made.mkdir()

    def execute(self, step, **inputs):
        """Run the script of a step; returns the process. Inputs that are not given have their defaults."""
        values = {name: declared.get("default", "") for name, declared in ACTION["inputs"].items()} | inputs
        known = {
            **{f"inputs.{name}": value for name, value in values.items()},
            "runner.temp": str(self.temporary),
            "github.action_path": str(ACTIONS),
            "steps.python.outputs.python-path": sys.executable,
        }
        assert "${{" not in step["run"], "a script gets its values from the environment"
        replaced = {
            name: re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: known[match[1]], value)
            for name, value in step["env"].items()
        }
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("REPRO_", "PYTHON"))}
        environment |= {"GITHUB_STEP_SUMMARY": str(self.summary), "GITHUB_OUTPUT": str(self.output), **replaced}
        script = self.directory / "script.sh"
        script.write_text(step["run"])
        command = [step["shell"], "--noprofile", "--norc", "-eo", "pipefail", script]
        return subprocess.run(
            command, cwd=self.workspace, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def list_reports(self):
        lines = self.output.read_text().splitlines() if self.output.exists() else []
        return [Path(line.removeprefix("junit=")) for line in lines]

    def verify(self, **inputs):
        return self.execute(VERIFY, **inputs)


def read_log(process):
    """What is in the log between the marks where the runner takes no line for a command."""
    begin, *lines, end = process.stdout.splitlines()
    assert process.stderr == ""
    (mark,) = re.fullmatch("::stop-commands::([0-9a-f]{32})", begin).groups()
    assert end == f"::{mark}::"
    assert not any(mark in line for line in lines)
    return lines


@pytest.fixture
def runner(tmp_path):
    """A runner on which the package is installed, as this interpreter with the checkout."""
    runner = Runner(tmp_path)
    python = runner.temporary / "gcnet-repro" / "bin" / "python"
    python.parent.mkdir(parents=True)
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['repro', *sys.argv[1:]]"
    python.write_text(
        "#!/bin/bash\n"
        '[ "$1 $2 $3" = "-I -m repro" ] || exit 99\n'
        f'exec {sys.executable} -I -c "{start}; from repro.cli import main; main()" "${{@:4}}"\n'
    )
    python.chmod(0o755)
    return runner


@pytest.fixture
def store(runner):
    """The block of +1 GC as printed, in the results of another repository."""
    store = Store(runner.workspace / "kept" / "records")
    store.add(record("coco-r50-1gc", published(TABLE, "coco-r50-1gc")))
    return store


def test_records_that_agree_pass_and_are_summarized(runner, store):
    process = runner.verify(results="kept", tables="2")
    assert process.returncode == 0, process.stdout
    assert read_log(process)[0].startswith("6 of 108 distinct numbers measured")
    assert runner.summary.read_text().startswith("## Verification against the paper: ✓ 6 of 108 distinct numbers")
    (report,) = runner.list_reports()
    assert report.is_relative_to(runner.temporary)
    assert ElementTree.parse(report).getroot().tag == "testsuites"


def test_a_job_that_uses_it_twice_has_two_reports_and_two_summaries(runner, store):
    for table in ("2", "4"):
        assert runner.verify(results="kept", tables=table).returncode == 0
    names = [[s.get("name") for s in ElementTree.parse(report).getroot()][1:] for report in runner.list_reports()]
    assert names == [["Table 2"], ["Table 4"]]
    assert runner.summary.read_text().count("## Verification") == 2


def test_what_is_off_fails_and_is_summarized(runner, store):
    store.add(record("coco-r50-1nl", {**published(TABLE, "coco-r50-1nl"), "ap_box": 36.1}))
    process = runner.verify(results="kept", tables="2")
    assert process.returncode == 1, process.stdout
    assert "✗ 12 of 108 distinct numbers measured; 1 cell off" in runner.summary.read_text()
    (report,) = runner.list_reports()
    assert len(ElementTree.parse(report).getroot().findall("testsuite/testcase/failure")) == 1


@pytest.mark.parametrize(
    ("inputs", "failure"),
    [
        ({"require": "7"}, "6 distinct numbers measured where 7 are required"),
        ({"require": "10%", "tables": "2, 4"}, "6 distinct numbers measured where 13 (10%) are required"),
        ({"fail-on": "inconclusive,not-run", "tables": "2\n3\n"}, "cells not run"),
        ({"fail-on": " not-run  ledger ", "tables": "2"}, "cells not run"),
    ],
)
def test_what_is_asked_for_and_not_there_fails(inputs, failure, runner, store):
    process = runner.verify(results="kept", **inputs)
    assert process.returncode == 1, process.stdout
    assert read_log(process)[-1].endswith(failure)
    assert failure in runner.summary.read_text().splitlines()[0].replace("\\", "")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"results": "results"}, "there is no directory results"),
        ({"results": ""}, "an argument is empty, --results"),
        ({"results": "kept/records"}, "kept/records holds records, and no directory records/"),
        ({"tables": "6"}, "--table"),
        ({"tables": "*"}, "--table"),
        ({"require": "$(touch made)"}, "--require $(touch made): give how many"),
        ({"fail-on": "of"}, "unknown verdict of --fail-on 'of'"),
        ({"results": "--help"}, "there is no directory --help"),
    ],
)
def test_bad_input_is_2_and_one_message(inputs, message, runner, store):
    process = runner.verify(**{"results": "kept", **inputs})
    assert process.returncode == 2, process.stdout
    assert any(message in line for line in read_log(process))
    assert "Traceback" not in process.stdout
    assert runner.list_reports() == []
    assert runner.summary.read_text() == (
        "## Verification against the paper: ✗ nothing was verified, the log says why\n"
    )
    assert [path.name for path in runner.workspace.iterdir()] == ["kept"]


def test_no_name_of_a_file_is_a_command_to_the_runner(runner, store):
    """Commands begin with :: where a line does, and in their older form, ##[...], anywhere in it."""
    path = store.directory / "a\n::add-mask::b\n##[set-output name=junit]c.json"
    path.write_text('{"schema_version": 2}')
    logs = [read_log(runner.verify(results="kept", tables="2")) for _ in range(2)]
    assert logs[0] == logs[1]
    assert [line for line in logs[0] if re.match(r"\s*::", line)] == []
    assert sum("##[set-output" in line for line in logs[0]) == 1


def test_the_whole_action_on_a_bare_interpreter(tmp_path):
    """It installs from the package index, and imports nothing from the repository that it checks."""
    runner = Runner(tmp_path)
    (runner.workspace / "repro").mkdir()
    for name in ("repro/__init__.py", "yaml.py", "typer.py"):
        (runner.workspace / name).write_text("raise SystemExit('imported from the repository that is checked')\n")
    process = runner.execute(INSTALL)
    if process.returncode and re.search(r"connection|timed out|resolution|unreachable", process.stderr, re.IGNORECASE):
        pytest.skip("the package index cannot be reached")
    assert process.returncode == 0, process.stderr
    process = runner.verify(results=str(REFERENCE))
    assert process.returncode == 0, process.stdout
    assert read_log(process)[0].startswith(
        "0 of 282 distinct numbers measured, 74 of 74 distinct counts made; 0 cells off"
    )
    packages = next((runner.temporary / "gcnet-repro" / "lib").glob("python3*")) / "site-packages"
    assert not (packages / "torch").exists()


def entries(lock: Path) -> set[str]:
    text = "".join(line for line in lock.read_text().splitlines(keepends=True) if not line.startswith("#"))
    return {entry.strip() for entry in re.split(r"\n(?=[a-z])", text)}


def test_what_the_action_installs_is_a_part_of_the_locked_environment():
    parts = [entries(path) for path in sorted(ACTIONS.glob("*.lock"))]
    assert len(parts) == 2
    assert set().union(*parts) < entries(ROOT / "requirements.lock")


def test_the_inputs_that_the_documentation_names_are_those_there_are():
    page = (ROOT / "docs" / "how-to" / "check-your-records-in-ci.md").read_text()
    (workflow,) = (yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S))
    (used,) = (s for s in workflow["jobs"]["verify"]["steps"] if "/.github/actions/verify@" in s.get("uses", ""))
    assert set(used["with"]) <= set(ACTION["inputs"])
    assert re.findall(r"^\| `([\w-]+)` \|", page, re.M) == list(ACTION["inputs"])
    assert set(re.findall(r"outputs\.([\w-]+)", page)) == set(ACTION["outputs"])


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_asks_for_little_and_ends_some_time(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert "secrets" not in text
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert job["timeout-minutes"] <= 120
    outside = [used for used in re.findall(r"uses: (\S+)", text) if not used.startswith("./")]
    assert [used for used in outside if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used)] == []


def test_the_tests_run_on_every_python_that_the_project_names():
    text = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert WORKFLOWS["checks"]["jobs"]["nox"]["strategy"]["matrix"]["python"] == named
    assert f'requires-python = ">={named[0]}"' in text


def test_the_workflow_runs_every_session_that_the_project_is_checked_by():
    script = (ROOT / ".ci" / "run").read_text()
    matrix = WORKFLOWS["checks"]["jobs"]["nox"]["strategy"]["matrix"]
    sessions = {*matrix["session"], *(one["session"] for one in matrix["include"])}
    assert sessions == set(re.findall(r"^nox -s (.+)$", script, re.MULTILINE))
