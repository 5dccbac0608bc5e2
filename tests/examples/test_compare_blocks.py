"""The comparison of blocks: what is in it, and that every number is of the records and of the counts."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from statistics import fmean, stdev

import pytest
from forged_records import copy_committed, forge
from places import REFERENCE, ROOT

from repro import experiments
from repro.complexity import COUNTER
from repro.experiments import get, mini
from repro.records import Count, Store
from repro.settings import Settings

SCRIPT = ROOT / "examples" / "compare_blocks.py"
SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(experiments, "_OWN", {})


@pytest.fixture(scope="module")
def compare():
    spec = importlib.util.spec_from_file_location("compare_blocks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["compare_blocks"] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["compare_blocks"]


@pytest.mark.parametrize("task", ["coco", "imagenet", "kinetics"])
def test_every_block_of_the_directory_is_compared_in_every_task(compare, task):
    lines = compare.list_lines(task)
    assert set(compare.FILES) == {path.stem for path in compare.BLOCKS.glob("*.py")} - {"insertions"}
    names = [line.experiment for line in lines]
    assert len(set(names)) == len(names)
    loaded = [one.name for one in experiments.list_own() if one.dataset == task]
    assert sorted(name for name in names if name in loaded) == sorted(loaded)
    for line in lines:
        assert mini.get_at_profile(line.experiment, "mini").profile == "mini"
    assert compare.TASKS[task].baseline == names[0]


def test_its_numbers_are_those_of_the_records_and_of_the_counts(compare, tmp_path):
    lines = compare.list_lines("coco")
    measured = copy_committed(tmp_path, ("coco-r50-gc-r16",), SEEDS)
    committed = [record for record in Store(REFERENCE / "records").all() if record.experiment == "coco-r50-1nl"]
    for record in committed:
        Store(tmp_path / "records").add(record)
    theirs = [measured["coco-r50-gc-r16", seed] for seed in SEEDS]
    forge(tmp_path, mini.get_at_profile("coco-eca", "mini"), theirs)
    counts = {
        line.experiment: Count(
            experiment=line.experiment, spec_hash=get(line.experiment).spec_hash, params=45_120_000 + 10_000 * i,
            macs=1, paper_flops=2**30 * (270 + i), input_shape=[3, 800, 1344], counter=COUNTER,
        )
        for i, line in enumerate(lines)
    }  # fmt: skip
    text = compare.render("coco", lines, Settings(results=tmp_path), counts)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines() if row.startswith("|")]
    by_name = {row[1]: row for row in rows}
    assert set(by_name) - {"experiment"} - {"-" * len(rows[1][1])} >= {line.experiment for line in lines}
    boxes = [record.require("ap_box").value for record in theirs]
    seconds = fmean(record.cost.train_seconds + record.cost.evaluate_seconds for record in theirs)
    number = next(i for i, line in enumerate(lines) if line.experiment == "coco-eca")
    assert by_name["coco-eca"][:7] == [
        "eca", "coco-eca", "3", f"{45.12 + 0.01 * number:.2f}M", f"{270 + number}.00G", f"{seconds:.0f} s",
        f"{fmean(boxes):.1f} ± {stdev(boxes):.1f}",
    ]  # fmt: skip
    assert by_name["coco-eca"][8:] == [""] * 4  # no map for each position, no statistics of one
    assert by_name["coco-cbam"][2] == "0"
    assert by_name["coco-cbam"][5:8] == ["—"] * 3
    assert by_name["coco-1-dnl"][8:] == ["—"] * 4
    divergences = [metric.value for record in committed if (metric := record.metric("jsd_att"))]
    of_nl = by_name["coco-r50-1nl"]
    number = len(committed) - len(divergences)
    assert number != len(divergences)
    assert of_nl[2] == str(number)
    assert of_nl[-1] == f"{fmean(divergences):.3f} ± {stdev(divergences):.3f} (n = {len(divergences)})"


def test_an_unknown_experiment_is_one_message(tmp_path):
    command = [sys.executable, str(SCRIPT), "--only", "coco-ecb", "--results", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 2
    assert "coco-eca" in answer.stderr
    assert "Traceback" not in answer.stderr
