"""The command line as a user meets it: exit codes, messages, start-up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from repro.experiments import EXPERIMENTS


def repro(*arguments, **environment):
    """Run the command line as a process of its own."""
    import os

    return subprocess.run(
        [sys.executable, "-m", "repro", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def refused(process, *words):
    """Exit code 2, one message on stderr that holds `words`, and no traceback."""
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    (message,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["cells", "--json"], ["verify", "--table", "2"], ["table", "2"]]
)
def test_answering_needs_no_torch(arguments, tmp_path):
    program = (
        "import sys; sys.argv = ['repro', *sys.argv[1:]]\n"
        "from repro.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**__import__("os").environ, "REPRO_RESULTS": str(tmp_path)},
    )
    assert process.returncode == 0, process.stderr


def test_cells_are_all_of_them_as_data():
    cells = json.loads(repro("cells", "--json").stdout)
    per_table = [sum(cell["table"] == table for cell in cells) for table in range(1, 6)]
    assert per_table == [44, 224, 147, 40, 20]
    assert set(cells[0]) == {"table", "group", "row", "column", "printed", "value", "unit"}
    first = next(cell for cell in cells if cell["table"] == 2)
    assert (first["row"], first["column"], first["printed"], first["value"]) == ("baseline", "ap_box", "37.2", 37.2)


def test_every_row_names_a_registered_experiment():
    rows = json.loads(repro("list", "--json").stdout)
    assert len(rows) == 72
    assert {row["experiment"] for row in rows} == set(EXPERIMENTS)
    assert len(EXPERIMENTS) == 49


def test_plan_is_data_too(tmp_path):
    process = repro("plan", "--table", 2, "--json", "--results", tmp_path, REPRO_DATA="")
    steps = json.loads(process.stdout)
    assert len(steps) == 18
    assert sum(len(step["rows"]) for step in steps) == 28
    assert {step["status"] for step in steps} == {"ready"}


def test_an_unknown_experiment_offers_the_nearest(tmp_path):
    refused(repro("run", "coco-r50-gc16", "--results", tmp_path), "coco-r50-gc-r16")


def test_an_unknown_profile_offers_those_there_are(tmp_path):
    refused(repro("run", "coco-r50-1gc", "--profile", "mid", "--results", tmp_path), "mini")


@pytest.mark.parametrize("verb", [["verify", "--table", "2"], ["table", "2"], ["plan", "--table", "2"]])
def test_half_a_record_is_named_and_left_alone(verb, tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    half = records / "coco-r50-baseline.mini.trained.seed0.0123456789ab.json"
    half.write_text('{"schema_version": 1, "experiment": "coco-r5')
    refused(repro(*verb, "--results", tmp_path), half.name)
    assert half.read_text().endswith("coco-r5")


def test_a_directory_without_annotations_says_where_they_come_from(tmp_path):
    process = repro(
        "run", "coco-r50-baseline", "--profile", "full", "--init", "random",
        "--data-root", tmp_path / "coco", "--results", tmp_path / "results",
    )  # fmt: skip
    refused(process, "annotations", "annotations_trainval2017.zip")


def test_an_output_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "results").write_text("in the way")
    refused(repro("run", "coco-r50-1gc", "--profile", "mini", "--results", tmp_path / "results"), "cannot write")
    assert (tmp_path / "results").read_text() == "in the way"


def test_options_of_the_full_profile_do_not_pass_silently_in_mini(tmp_path):
    refused(repro("run", "coco-r50-1gc", "--profile", "mini", "--iterations", 3, "--results", tmp_path), "--iterations")
