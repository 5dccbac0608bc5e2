"""The command line as a user meets it: exit codes, messages, start-up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.experiments import EXPERIMENTS


def repro(*arguments, **environment):
    """Run the command line as a process of its own."""
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
    "arguments", [["--help"], ["list"], ["cells", "--json"], ["verify", "--table", "2"], ["table", "2"], ["claims"]]
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
        env={**os.environ, "REPRO_RESULTS": str(tmp_path)},
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
    assert {row["experiment"] for row in rows} | {"imagenet-r50-stage1"} == set(EXPERIMENTS)
    assert len(EXPERIMENTS) == 50


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
    refused(
        repro("run", "coco-r50-1gc", "--profile", "mini", "--results", tmp_path / "results"),
        "a part of the path is a file",
    )
    assert (tmp_path / "results").read_text() == "in the way"


def test_options_of_the_full_profile_do_not_pass_silently_in_mini(tmp_path):
    refused(repro("run", "coco-r50-1gc", "--profile", "mini", "--iterations", 3, "--results", tmp_path), "--iterations")


# -- the full profile on a directory in COCO's layout -----------------------------------------------------------------

CATEGORIES = [{"id": number, "name": str(number)} for number in range(1, 81)]


@pytest.fixture
def coco(tmp_path):
    """Two images a split, 80 categories, and a record from before that nothing may touch."""
    root = tmp_path / "coco"
    for first, split in ((1, "train2017"), (11, "val2017")):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for number in (first, first + 1):
            pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / f"{number:012d}.jpg")
            images.append({"id": number, "file_name": f"{number:012d}.jpg", "height": 48, "width": 64})
            annotations.append(
                {
                    "id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 400,
                    "bbox": [10, 10, 20, 20], "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]],
                }
            )  # fmt: skip
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        path = root / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    (tmp_path / "results" / "records").mkdir(parents=True)
    return root


def run_full(root, *more):
    return repro(
        "run", "coco-r50-baseline", "--profile", "full", "--init", "random", "--iterations", 1, "--batch-size", 1,
        "--data-root", root, "--results", root.parent / "results", *more,
    )  # fmt: skip


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_a_category(root: Path) -> None:
    path = root / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "categories": content["categories"][:79]}))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "annotations/instances_val2017.json").unlink(), ["instances_val2017.json", "Download"]),
        (lambda root: cut(root / "annotations/instances_train2017.json"), ["instances_train2017.json"]),
        (lambda root: (root / "val2017/000000000012.jpg").unlink(), ["000000000012.jpg", "id 12"]),
        (lambda root: cut(root / "train2017/000000000001.jpg"), ["000000000001.jpg", "corrupt"]),
        (drop_a_category, ["79 categories", "80"]),
    ],
    ids=["no annotations", "half the annotations", "missing image", "corrupt image", "a category too few"],
)
def test_a_damaged_directory_is_one_clear_message(coco, damage, words):
    earlier = coco.parent / "results" / "records" / "notes.txt"
    earlier.write_text("kept")
    damage(coco)
    # One training image alone would do: both are drawn in two iterations, so that a corrupt one is met.
    refused(run_full(coco, "--iterations", 2), *words)
    assert [path.name for path in earlier.parent.iterdir()] == ["notes.txt"]
    assert earlier.read_text() == "kept"


def test_the_weights_of_something_else_are_refused(coco, tmp_path):
    import torch

    torch.save({"backbone.conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "detector.pth")
    (tmp_path / "text.pth").write_text("no weights")
    refused(run_full(coco, "--init", tmp_path / "detector.pth"), "belong to another network")
    refused(run_full(coco, "--init", tmp_path / "text.pth"), "text.pth", "cannot be read")
    refused(run_full(coco, "--init", tmp_path / "none.pth"), "none.pth")


def test_reproducing_from_nothing_measurable_is_bad_input(tmp_path):
    process = repro(
        "reproduce", "--table", 2, "--profile", "full", "--data-root", tmp_path, "--results", tmp_path / "results"
    )
    refused(process, "annotations")


def test_the_full_profile_runs_on_real_photographs(coco_tiny, tmp_path):
    """One training image and two evaluated ones at the paper's resolution: a record that no verdict can be had from."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split, number in (("train2017", 1), ("val2017", 2)):
        content = json.loads((coco_tiny / "annotations" / f"instances_{split}.json").read_text())
        crowded = {one["image_id"] for one in content["annotations"] if one["iscrowd"]}
        plain = {one["image_id"] for one in content["annotations"]} - crowded
        chosen = [*sorted(crowded)[:1], *sorted(plain)[:1]] if number == 2 else sorted(plain)[:1]
        content["images"] = [image for image in content["images"] if image["id"] in chosen]
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] in chosen]
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        (root / split).mkdir()
        for image in content["images"]:
            shutil.copy(coco_tiny / split / image["file_name"], root / split)
    process = run_full(root, "--json")
    assert process.returncode == 0, process.stderr
    record = json.loads(process.stdout)
    assert (record["dataset"]["name"], record["dataset"]["required"], record["dataset"]["evaluated"]) == (
        "coco-val2017", 5000, 2,
    )  # fmt: skip
    assert record["training"]["iterations"] == 1
    verified = repro("verify", "--table", 2, "--json", "--results", tmp_path / "results")
    assert verified.returncode == 0
    assert "2 of 5000 images were evaluated" in verified.stdout


def test_ctrl_c_ends_the_workers_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "repro", "reproduce", "--table", "2", "--profile", "mini", "--results", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background job
    )
    logs = []
    deadline = time.monotonic() + 300
    while not logs and time.monotonic() < deadline:  # until a worker is at work
        time.sleep(0.5)
        logs = list(tmp_path.glob("runs/*/log.jsonl"))
    process.send_signal(signal.SIGINT)
    try:
        _, messages = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, messages
    assert "the same command continues from there" in messages
    assert "Traceback" not in messages
    assert (logs[0].parent / "state.pt").exists(), "no state was saved, fifty iterations before the first one is due"
    size = logs[0].stat().st_size
    time.sleep(2)
    assert logs[0].stat().st_size == size, "a worker went on without the process that started it"


@pytest.mark.parametrize("options", [["--dry-run"], ["--slurm", "gpus=2"], ["--table", "all"]])
def test_what_belongs_to_a_cluster_is_refused_without_one(options, tmp_path):
    refused(repro("reproduce", "--table", 4, *options, "--results", tmp_path), "--on slurm")


def test_two_formats_at_once_are_refused(tmp_path):
    refused(repro("complexity", "--json", "--format", "tex", "--results", tmp_path), "--format", "--json")
