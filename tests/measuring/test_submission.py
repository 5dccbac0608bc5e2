"""From weights to the files for COCO's evaluation server, and from its answer to a row of Table 3(b)."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from forging import forge
from mmdetection_peer import Peer
from typer.testing import CliRunner

from repro import experiments, paper, records
from repro.checkpoints import registry
from repro.checkpoints.registry import CheckpointEntry, Registry
from repro.cli import record_external as record_external_verb
from repro.cli import submit as submit_verb
from repro.data import layout
from repro.data.coco import CocoDetection, Detections
from repro.data.miniature import coco as miniature
from repro.detection.torchvision import MaskRCNN
from repro.errors import ReproError
from repro.evaluation import coco as evaluation
from repro.evaluation import submission as archives
from repro.experiments import Backbone, Detector, get, mini
from repro.measuring import server_answer
from repro.measuring.measure import measure
from repro.measuring.submission import submit
from repro.paper import tolerances
from repro.paths import TABLES
from repro.planning.work_order import order_work
from repro.records.submission import load_submission
from repro.rendering import tables
from repro.settings import Settings
from repro.tasks.detection import DetectorEvaluation
from repro.verification import judgement

NAME = "coco-x101-cascade-baseline"
OTHER = "coco-x101-cascade-gc-r16"
IMAGES = 6
NETWORK = Detector(
    Backbone(blocks=(1, 2, 2, 1), width=8, norm="sync"),
    num_classes=6, fpn_channels=8, box_channels=16, mask_channels=4, short_side=64, long_side=192, proposals=(20, 20),
    score_threshold=0.0, detections=5,
)  # fmt: skip
#: As printed: a row that was measured exactly.
ANSWER = {"ap_box": 45.0, "ap50_box": 63.7, "ap75_box": 49.1, "ap_mask": 38.7, "ap50_mask": 60.8, "ap75_mask": 41.8}
BOXES = {name: value for name, value in ANSWER.items() if name.endswith("box")}
MASKS = {name: value for name, value in ANSWER.items() if name.endswith("mask")}
OPTIONS = [part for name, value in ANSWER.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Generated images in the layout of COCO, test-dev among them: a list of images, and no annotations."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        miniature,
        "SCENES",
        replace(mini.coco.SCENES, train_images=2, val_images=IMAGES, lit_images=2, classification_images=2),
    )
    root = tmp_path_factory.mktemp("data") / "coco"
    miniature.generate(root, 0)
    patch.undo()
    shutil.copytree(root / "val2017", root / "test2017")
    content = json.loads((root / "annotations" / "instances_val2017.json").read_bytes())
    del content["annotations"]
    (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture(autouse=True)
def small(coco, monkeypatch):
    """Small networks, and test-dev as small as the generated one."""
    for name in (NAME, OTHER):
        monkeypatch.setitem(experiments.EXPERIMENTS, name, replace(get(name), network=NETWORK))
    content = json.loads((coco / "annotations" / "image_info_test-dev2017.json").read_bytes())
    monkeypatch.setattr(layout, "_CATEGORIES", {category["id"] for category in content["categories"]})
    monkeypatch.setattr(layout, "_TEST_DEV_IMAGES", IMAGES)
    size = replace(paper.DATASETS["coco-test-dev2017"], size=IMAGES)
    monkeypatch.setitem(paper.DATASETS, "coco-test-dev2017", size)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Weights in the authors' format, trained at no one's."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.manual_seed(0)
    peer = Peer(1, blocks=(1, 2, 2, 1), stem=8, classes=6, fpn=8, fc=16, mask=4)
    torch.save({"meta": {"epoch": 12}, "state_dict": peer.state_dict()}, path)
    return path


@pytest.fixture
def settings(tmp_path, coco, file, monkeypatch):
    """The authors' weights of the row, fetched by hand."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    entry = CheckpointEntry(
        id="gcnet/small", source="someone/zoo", format="mmdetection1", urls=[{"url": "https://one.example/f.pth"}],
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(), reported={},
        serves=[{"experiment": name, "match": "exact"} for name in (NAME, OTHER)],
    )  # fmt: skip
    monkeypatch.setattr(registry, "load", lambda: Registry((entry,), Path("checkpoints.yaml")))
    return Settings(tmp_path / "results", "full", "checkpoint", str(file), data_root=coco, device="cpu")


def sent(settings, name=NAME, progress=lambda *_: None, **options):
    return submit(name, settings, "test-dev2017", progress=progress, **options)


def answer(settings, directory, metrics=ANSWER, name=NAME):
    return server_answer.record_answer(name, directory, metrics, settings.store, command="repro record-external")


def refuse(*_):
    raise AssertionError("something was predicted again")


def row(settings, group, name=NAME):
    """What Table 3 says of an experiment in one of its groups."""
    table = judgement.verify(paper.load(3), settings.store.all(), {}, tolerances.load())
    return next(row for row in table.rows if row.group.name == group and row.row.experiment == name)


def verdict_by_column(row):
    return {cell.cell.column: cell.verdict for cell in row.cells if cell.cell.column != "flops"}


# -- the files --------------------------------------------------------------------------------------------------------


def test_two_files_for_the_two_tasks(settings, coco):
    directory, submission = sent(settings)
    content = json.loads((coco / "annotations" / "image_info_test-dev2017.json").read_bytes())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for task in ("bbox", "segm"):
        archive = submission.archives[task]
        path = directory / archive.path
        assert path.name == f"detections_test-dev2017_{NAME}_results.zip"
        assert path.parent.name == task
        assert archive.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert archives.check(path, task, sizes, categories) == archive.detections > 0
        with zipfile.ZipFile(path) as opened:
            found = json.loads(opened.read(f"{path.stem}.json"))
        assert {entry["image_id"] for entry in found} <= set(sizes)
        assert {entry["category_id"] for entry in found} <= categories


def test_what_the_files_are_of_stands_beside_them(settings, coco, file):
    directory, submission = sent(settings)
    assert load_submission(directory) == submission
    assert (submission.experiment, submission.source, submission.seed) == (NAME, "checkpoint", 0)
    assert submission.spec_hash == get(NAME).spec_hash
    assert submission.weights.checkpoint.id == "gcnet/small"
    assert submission.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(deviation.startswith("legacy: ") for deviation in submission.deviations)
    data = submission.dataset
    assert (data.name, data.required, data.evaluated) == ("coco-test-dev2017", IMAGES, IMAGES)
    listed = coco / "annotations" / "image_info_test-dev2017.json"
    assert data.annotations_sha256 == hashlib.sha256(listed.read_bytes()).hexdigest()


def test_a_finished_submission_is_not_predicted_again_and_the_same_elsewhere(settings, tmp_path):
    directory, submission = sent(settings)
    assert sent(settings, progress=refuse) == (directory, submission)
    elsewhere, other = sent(replace(settings, results=tmp_path / "elsewhere"), output=tmp_path / "upload")
    assert elsewhere == tmp_path / "upload"
    for task, archive in submission.archives.items():
        assert (elsewhere / other.archives[task].path).read_bytes() == (directory / archive.path).read_bytes()


def test_interrupted_it_goes_on(settings, monkeypatch):
    monkeypatch.setattr(DetectorEvaluation, "shard", 2)

    class Interrupted(Exception):
        pass

    def stop(stage, done, _, at=None):
        if (stage, done) == ("evaluation", 3):
            raise Interrupted

    with pytest.raises(Interrupted):
        sent(settings, progress=stop)
    done = []
    _, submission = sent(
        settings, progress=lambda stage, n, _, at=None: done.append(n) if stage == "evaluation" else None
    )
    assert done == [3, 4, 5, 6]
    assert submission.dataset.evaluated == IMAGES


def test_the_verb_needs_nothing_but_test_dev(settings, coco, tmp_path):
    root = tmp_path / "only"
    (root / "annotations").mkdir(parents=True)
    shutil.copy(coco / "annotations" / "image_info_test-dev2017.json", root / "annotations")
    shutil.copytree(coco / "test2017", root / "test2017")
    app = typer.Typer()
    app.command()(submit_verb.command)
    options = ["--weights", settings.weights, "--data-root", str(root), "--results", str(settings.results)]
    result = CliRunner().invoke(app, [NAME, *options])
    assert result.exit_code == 0, result.output
    assert "--profile" not in CliRunner().invoke(app, ["--help"]).output


def test_a_list_that_is_not_the_whole_of_test_dev_is_refused(settings, monkeypatch):
    monkeypatch.setattr(layout, "_TEST_DEV_IMAGES", IMAGES + 1)
    with pytest.raises(ReproError, match=r"is not COCO's test-dev2017: it lists 6 images"):
        sent(settings)


def test_a_changed_file_is_not_taken_for_the_one_written(settings):
    directory, submission = sent(settings)
    path = directory / submission.archives["segm"].path
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ReproError, match="is not the file that `repro submit` wrote"):
        sent(settings)


# -- weights that were trained here -----------------------------------------------------------------------------------


@pytest.fixture
def training(settings):
    return replace(
        settings, source="trained", weights=None, initial="random", iterations=2, batch_size=2, micro_batch=1, seed=3
    )


@pytest.mark.rounding
def test_what_predicts_holds_the_weights_of_the_run(training, monkeypatch):
    measure(order_work(NAME, training), command="repro run", progress=lambda *_: None)
    seen = []
    original = MaskRCNN.find_instances
    monkeypatch.setattr(
        MaskRCNN, "find_instances", lambda model, samples: seen.append(model) or original(model, samples)
    )
    sent(training)
    weights = torch.load(next((training.results / "runs").glob("*/weights.pt")), weights_only=True)
    ours = seen[0].state_dict()
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in weights.items())


@pytest.mark.rounding
def test_the_weights_of_a_run_are_found_by_its_key(training):
    with pytest.raises(ReproError, match=r"was not trained with these options and seed 3.*repro run"):
        sent(training)
    run = measure(order_work(NAME, training), command="repro run", progress=lambda *_: None)
    directory, submission = sent(training)
    assert (submission.source, submission.seed) == ("trained", 3)
    assert (submission.weights, submission.training) == (run.weights, run.training)
    assert set(run.deviations) <= set(submission.deviations)
    with pytest.raises(ReproError, match="seed 4"):
        sent(replace(training, seed=4))

    record = answer(training, directory)
    assert (record.training, record.departures) == (run.training, run.departures)
    cell = next(cell for cell in row(training, "b").cells if cell.cell.column == "ap_box")
    assert (cell.verdict, cell.source) == ("inconclusive", "evaluation server")  # two iterations are not the recipe
    assert "another recipe" in cell.reason
    assert measure(order_work(NAME, training), command="repro run", progress=refuse) == run

    weights = next((training.results / "runs").glob("*/weights.pt"))
    shutil.rmtree(directory)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ReproError, match="is damaged"):
        sent(training)
    weights.unlink()
    with pytest.raises(ReproError, match=r"weights of record .* are not there"):
        sent(training)


# -- the answer -------------------------------------------------------------------------------------------------------


def test_the_answer_becomes_a_record_of_the_submission(settings):
    directory, submission = sent(settings)
    record = answer(settings, directory)
    assert settings.store.all() == [record]
    assert record.evaluator == "COCO evaluation server"
    assert {metric.name: metric.value for metric in record.metrics} == ANSWER
    assert {metric.n for metric in record.metrics} == {IMAGES}
    for field in ("weights", "spec_hash", "deviations", "dataset", "predictions_sha256", "numerics"):
        assert getattr(record, field) == getattr(submission, field)
    assert record.submitted.files == {task: archive.sha256 for task, archive in submission.archives.items()}


def test_the_row_of_test_dev_shows_it_and_the_one_of_val_does_not(settings):
    before = tables.render(paper.load(3), settings.store, "md")
    directory, _ = sent(settings)
    answer(settings, directory)
    on_test_dev, on_val = row(settings, "b"), row(settings, "a")
    assert set(verdict_by_column(on_test_dev).values()) == {"compatible"}
    assert set(verdict_by_column(on_val).values()) == {"not run"}
    rules = tolerances.load()
    assert {cell.applied for cell in on_test_dev.cells if cell.ours} == {rules.checkpoint.applies_to}
    after = tables.render(paper.load(3), settings.store, "md")
    assert "ours (evaluation server: authors' weights; D1" in after
    part = after.split("## (b)")[0].split("## (a)")[1]
    assert part == before.split("## (b)")[0].split("## (a)")[1]
    assert f",evaluation server,torchvision,{NAME}," in tables.render(paper.load(3), settings.store, "csv")


def test_an_answer_off_the_print_is_off(settings):
    directory, _ = sent(settings)
    answer(settings, directory, {**ANSWER, "ap_box": 45.2})
    assert verdict_by_column(row(settings, "b")) == {**dict.fromkeys(ANSWER, "compatible"), "ap_box": "off"}


def test_a_measurement_on_val_does_not_reach_test_dev(settings):
    record = measure(order_work(NAME, settings), command="repro run", progress=lambda *_: None)
    whole = record.dataset.model_copy(update={"name": "coco-val2017", "evaluated": 5000})
    table = judgement.verify(paper.load(3), [record.model_copy(update={"dataset": whole})], {}, tolerances.load())
    found = {row.group.name: row for row in table.rows if row.row.experiment == NAME}
    assert len(found["a"].measurements) == 1
    assert found["b"].measurements == ()
    assert set(verdict_by_column(found["b"]).values()) == {"not run"}


def test_a_stale_answer_says_nothing_of_val(settings, monkeypatch):
    directory, _ = sent(settings)
    answer(settings, directory)
    monkeypatch.setitem(experiments.EXPERIMENTS, NAME, replace(get(NAME), network=replace(NETWORK, detections=6)))
    reasons = {group: {cell.reason for cell in row(settings, group).cells if cell.cell.column != "flops"}
               for group in "ab"}  # fmt: skip
    assert reasons["a"] == {"needs COCO 2017"}
    assert reasons["b"] == {"its record is stale (the network or the recipe has changed)"}
    with pytest.raises(ReproError, match="another version's network"):
        answer(settings, directory)


def test_the_other_task_can_be_answered_later_and_a_number_corrected(settings):
    directory, _ = sent(settings)
    answer(settings, directory, BOXES)
    assert verdict_by_column(row(settings, "b")) == {
        **dict.fromkeys(BOXES, "compatible"),
        **dict.fromkeys(MASKS, "not run"),
    }
    answer(settings, directory, {**MASKS, "ap_mask": 39.7})
    assert verdict_by_column(row(settings, "b")) == {**dict.fromkeys(ANSWER, "compatible"), "ap_mask": "off"}
    corrected = answer(settings, directory, MASKS)
    assert set(verdict_by_column(row(settings, "b")).values()) == {"compatible"}
    assert answer(settings, directory) == corrected
    answer(settings, directory, {**MASKS, "ap_mask": 39.7})  # to and fro: what was entered last counts
    assert verdict_by_column(row(settings, "b"))["ap_mask"] == "off"


WRONG = {
    "nothing": ({}, "no metrics"),
    "beyond 100": ({**BOXES, "ap_box": 450.0}, "ap_box: 450.0 is no percentage"),
    "no value of the metric": ({**BOXES, "ap75_box": -1.0}, "ap75_box: -1.0 is no percentage"),
    "NaN": ({**BOXES, "ap_box": float("nan")}, "ap_box: nan is no percentage"),
    "a fraction": ({**BOXES, "ap_box": 0.45}, "looks like a fraction; the table is in percent: 45"),
    "half a task": ({"ap_box": 45.0, "ap50_box": 63.7}, "ap75_box is missing"),
    "exchanged": ({**BOXES, "ap_box": 63.7, "ap50_box": 45.0}, "Are two of them exchanged"),
    "another name": ({**BOXES, "ap": 45.0}, "metric 'ap' is none that the table has"),
}


@pytest.mark.parametrize(("metrics", "message"), WRONG.values(), ids=WRONG)
def test_wrong_numbers(settings, tmp_path, metrics, message):
    with pytest.raises(ReproError, match=message):
        answer(settings, tmp_path, metrics)


def test_the_wrong_submission(settings, tmp_path, monkeypatch):
    directory, submission = sent(settings)
    with pytest.raises(ReproError, match=f"is of {NAME}, not of {OTHER}"):
        answer(settings, directory, name=OTHER)
    with pytest.raises(ReproError, match="the paper has no number of coco-r50-baseline on test-dev"):
        answer(settings, directory, name="coco-r50-baseline")
    with pytest.raises(ReproError, match="name the directory that `repro submit"):
        answer(settings, tmp_path)
    path = directory / submission.archives["bbox"].path
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(ReproError, match=r"bbox/.* is not the file that `repro submit` wrote"):
        answer(settings, directory)
    path.unlink()
    with pytest.raises(ReproError, match="cannot be read"):
        answer(settings, directory)
    path.write_bytes(content)
    monkeypatch.setitem(paper.DATASETS, "coco-test-dev2017", replace(paper.DATASETS["coco-test-dev2017"], size=20288))
    with pytest.raises(ReproError, match="is of 6 images of coco-test-dev2017; the paper's numbers are of all 20288"):
        answer(settings, directory)
    written = (directory / "submission.json").read_text()
    (directory / "submission.json").write_text(written.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ReproError, match=r"was changed after it was written.*Run `repro submit` again"):
        answer(settings, directory)
    (directory / "submission.json").write_text("{}")
    with pytest.raises(ReproError, match="is not a valid submission"):
        answer(settings, directory)
    assert settings.store.all() == []


FORGED = {
    "no archive": (lambda d: d["archives"].clear(), r"archives: .*at least 1 item"),
    "an archive elsewhere": (
        lambda d: d["archives"]["bbox"].update(path="../../../predictions.json.gz"),
        r"archives\.bbox\.path: ",
    ),
    "an archive anywhere": (lambda d: d["archives"]["bbox"].update(path="/etc/passwd"), r"archives\.bbox\.path: "),
    "an archive of a long name": (lambda d: d["archives"]["bbox"].update(path="x" * 301), r"archives\.bbox\.path: "),
    "a source that its weights contradict": (
        lambda d: d.update(source="trained"),
        r"weights\.checkpoint belongs to source checkpoint",
    ),
    "published weights that were trained": (
        lambda d: d.update(
            training={
                "key": "1" * 64, "iterations": 1, "recipe_iterations": 1, "effective_batch": 1, "learning_rate": 0.1,
                "world_size": 1, "final_loss": 1.0,
            }
        ),
        "training belongs to source trained, and to no other",
    ),
    "a hash that is none": (lambda d: d["archives"]["bbox"].update(sha256="x"), r"archives\.bbox\.sha256: "),
    "a number without end": (lambda d: d.update(seed=10**400), "seed: "),
    "a control character": (lambda d: d.update(deviations=["\x1b[2J"]), r"deviations\.0: it has the control char"),
    "a NaN": (lambda d: d["cost"].update(train_seconds=float("nan")), r"cost\.train_seconds: "),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_a_forged_submission_is_named_by_its_file(settings, change, message):
    directory, _ = sent(settings)
    forge(directory / "submission.json", change)
    with pytest.raises(ReproError, match=message) as refused:
        answer(settings, directory)
    assert str(directory / "submission.json") in str(refused.value)
    assert settings.store.all() == []


def test_an_answer_for_the_task_that_was_not_submitted(settings):
    directory, _ = sent(settings)
    forge(directory / "submission.json", lambda d: d["archives"].pop("segm"))
    with pytest.raises(ReproError, match=r"submission\.json is of bbox alone: no server can have answered segm"):
        answer(settings, directory)
    assert [metric.name for metric in answer(settings, directory, BOXES).metrics] == list(BOXES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[45.0]", "must be a JSON object of numbers"),
        ('{"ap_box": "45.0"}', "must be a JSON object of numbers"),
        ('{"ap_box": 45.0, "ap_box": 46.0}', "'ap_box' is there twice"),
        ('{"ap_box": 45.0', "is not JSON"),
        ("AP = 0.450", "is not JSON"),
        ('{"ap_box": NaN}', "ap_box: nan is no percentage"),
        ('{"ap_box": Infinity}', "ap_box: inf is no percentage"),
        ('{"ap_box": 1' + 400 * "0" + "}", "it has hundreds of digits"),
        ('{"ap_box": 1' + 5000 * "0" + "}", "is not JSON"),
        ('{"ap_box": true}', "must be a JSON object of numbers"),
        ('{"ap_box": 0.45, "ap50_box": 0.637, "ap75_box": 0.482}', "looks like a fraction"),
        ('{"' + 10**5 * "x" + '": 1}', "is none that the table has"),
    ],
)
def test_a_metrics_file_that_is_none(tmp_path, text, message):
    path = tmp_path / "answer.json"
    path.write_text(text)
    with pytest.raises(ReproError, match=message) as refused:
        server_answer.read_metrics(path)
    assert str(path) in str(refused.value)
    assert len(str(refused.value)) < 1000


# -- around it --------------------------------------------------------------------------------------------------------


def test_other_records_are_written_as_before():
    paths = sorted((TABLES / "reference" / "records").glob("*.json"))
    assert paths
    for path in paths:
        record = records.read(path)
        assert record.submitted is None
        assert "submitted" not in json.loads(record.model_dump_json())


def test_test_dev_is_predicted_and_not_evaluated(coco):
    data = CocoDetection(coco, "test-dev2017", 6, 64, 192)
    assert (len(data), data.objects) == (IMAGES, 0)
    assert data.sample(0).image.shape[0] == 3
    nothing = [
        Detections(image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), [])
        for image_id in data.image_ids
    ]
    with pytest.raises(ReproError, match=r"test-dev2017 cannot be evaluated here.*repro submit"):
        evaluation.evaluate(nothing, data)


def test_a_split_with_annotations_must_have_them(coco, tmp_path):
    (tmp_path / "annotations").mkdir()
    shutil.copytree(coco / "val2017", tmp_path / "val2017")
    content = (coco / "annotations" / "image_info_test-dev2017.json").read_bytes()
    (tmp_path / "annotations" / "instances_val2017.json").write_bytes(content)
    with pytest.raises(ReproError, match=r"key annotations: the key is missing"):
        CocoDetection(tmp_path, "val2017", 6, 64, 192)


def test_where_to_get_test_dev(tmp_path):
    with pytest.raises(
        ReproError, match=r"image_info_test-dev2017.json is missing.*image_info_test2017.*/test2017.zip"
    ):
        CocoDetection(tmp_path, "test-dev2017", 6, 64, 192)


def test_on_the_command_line(settings, file, coco):
    app = typer.Typer()
    app.command("submit")(submit_verb.command)
    app.command("record-external")(record_external_verb.command)
    where = ["--results", str(settings.results)]
    options = [*where, "--data-root", str(coco), "--weights", str(file), "--device", "cpu"]
    run = CliRunner().invoke(app, ["submit", NAME, *options], catch_exceptions=False)
    assert run.exit_code == 0
    directory = next((settings.results / "submissions").iterdir())
    assert f"bbox: {directory}" in run.stdout
    assert f"repro record-external {NAME} --submission {directory}" in run.stdout
    run = CliRunner().invoke(
        app, ["record-external", NAME, "--submission", str(directory), *where, *OPTIONS], catch_exceptions=False
    )
    assert run.exit_code == 0
    assert set(verdict_by_column(row(settings, "b")).values()) == {"compatible"}
