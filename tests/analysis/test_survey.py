"""Statistics over images: means, standard errors, what is kept and what is taken up again."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from own_blocks import Whole, trained
from PIL import Image as pillow
from torch import nn

from repro.analysis import survey as surveys
from repro.analysis.attention import Statistics, find_blocks
from repro.analysis.images import OPTION, CocoImages, Photographs, normalise_and_pad
from repro.analysis.subjects import Subject, choose_images, load_experiment
from repro.analysis.survey import MEAN, ImageStatistics, load_published, summarise, survey
from repro.data.coco import CocoDetection, DetectionSample
from repro.data.given_files import holds_videos
from repro.detection.torchvision import MaskRCNN
from repro.errors import ReproError
from repro.experiments import get, mini
from repro.experiments.conventions import AUTHORS, DETECTRON2
from repro.experiments.mini import shrink
from repro.models.context import NonLocalBlock
from repro.paper import STATISTICS
from repro.settings import Settings
from repro.tasks import task_for

pytestmark = pytest.mark.rounding


def silent(stage: str, done: int, total: int, at: object = None) -> None:
    pass


@pytest.fixture
def photographs(tmp_path):
    generator = np.random.default_rng(0)
    for name, size in (("b.png", (24, 40, 3)), ("a.jpg", (40, 24, 3)), ("c.png", (32, 32))):
        pillow.fromarray(generator.integers(0, 256, size, dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return Photographs([tmp_path], 32, 64)


def subject(key: str | None = "1") -> Subject:
    network = nn.Sequential(nn.AvgPool2d(8), Whole(), nn.Conv2d(3, 3, 1), Whole())
    return Subject("own", trained(network), AUTHORS, "drawn", key)


def test_images_of_a_directory(photographs):
    assert photographs.names == ["a.jpg", "b.png", "c.png"]
    assert [tuple(photographs.pixels(i).shape) for i in range(3)] == [(3, 53, 32), (3, 32, 53), (3, 32, 32)]
    assert (photographs.pixels(2)[0] == photographs.pixels(2)[2]).all()  # grey


def test_two_images_of_one_name_are_refused(photographs, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.png").write_bytes((tmp_path / "b.png").read_bytes())
    with pytest.raises(ReproError, match=r"two files have the same name.*b\.png and .*more/b\.png"):
        Photographs([tmp_path, tmp_path / "more"], 32, 64)


def test_images_that_cannot_be_read(tmp_path):
    with pytest.raises(ReproError, match=r"--images: .*missing cannot be read: it does not exist"):
        Photographs([tmp_path / "missing"], 32, 64)
    with pytest.raises(ReproError, match="has no images"):
        Photographs([tmp_path], 32, 64)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    with pytest.raises(ReproError, match=r"torn\.jpg is corrupt"):
        Photographs([tmp_path], 32, 64).pixels(0)


def test_what_is_in_a_directory_and_no_photograph(photographs, tmp_path, capsys):
    """A pipe is not waited for, what a Mac leaves beside a photograph is none, and one that is turned is turned."""
    before = photographs.identity
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7 of a Mac")
    assert Photographs([tmp_path], 32, 64).identity == before
    assert capsys.readouterr().err == ""
    for name in ("c.tmp.jpg", "d.jpg", "d.jpg.crdownload"):
        shutil.copy(tmp_path / "b.png", tmp_path / name)
    assert Photographs([tmp_path], 32, 64).identity == before
    assert "left out is what downloads did not finish, 2 of 7 files: c.tmp.jpg, d.jpg\n" in capsys.readouterr().err
    for name in ("c.tmp.jpg", "d.jpg", "d.jpg.crdownload"):
        (tmp_path / name).unlink()
    assert not holds_videos([tmp_path])
    exif = pillow.Exif()
    exif[274] = 6
    stored = pillow.open(tmp_path / "b.png")
    stored.save(tmp_path / "d.png", exif=exif)
    turned = stored.transpose(pillow.Transpose.ROTATE_270)
    turned.save(tmp_path / "e.png")
    found = Photographs([tmp_path / "d.png", tmp_path / "e.png"], 32, 64)
    assert torch.equal(found.pixels(0), found.pixels(1))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ReproError, match=r"pipe\.jpg cannot be read: it is no regular file but a named pipe"):
        Photographs([tmp_path], 32, 64).pixels(5)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for look in (lambda paths: holds_videos(paths, OPTION), lambda paths: Photographs(paths, 32, 64)):
        with pytest.raises(
            ReproError, match=r"--images: .*loop cannot be read: it is a link that leads back to itself"
        ):
            look([tmp_path / "loop"])


def test_images_of_a_split_that_cannot_be_read_are_counted(coco_tiny, tmp_path):
    shutil.copytree(coco_tiny / "annotations", tmp_path / "annotations")
    shutil.copytree(coco_tiny / "val2017", tmp_path / "val2017")
    data = CocoDetection(tmp_path, "val2017", 80, 80, 133)
    images = CocoImages(data, 3)
    path = tmp_path / "val2017" / f"{data.image_ids[1]:012d}.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n")
    result, _ = survey(subject(), images, tmp_path / "attention", "cpu", silent)
    assert (result.n, result.failed) == (2, [str(data.image_ids[1])])


@pytest.mark.parametrize("conventions", [AUTHORS, DETECTRON2])
def test_the_input_is_the_detectors(conventions):
    """Normalised and padded as in the forward pass of the detector that the weights are of."""
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sample = DetectionSample(image, 1, (50, 70), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 50, 70))
    model = MaskRCNN(shrink(get("coco-r50-1nl")).network, conventions)
    assert torch.equal(normalise_and_pad(image, conventions), model.batch([sample]).tensors)


def test_a_split_is_the_data_sets(coco_tiny):
    data = CocoDetection(coco_tiny, "val2017", 80, 80, 133)
    split = CocoImages(data, 3)
    assert split.names == [str(i) for i in data.image_ids[:3]]
    assert torch.equal(split.pixels(2), data.sample(2).image)
    assert not split.complete
    assert (
        split.identity
        != CocoImages(data, 2).identity
        != CocoImages(CocoDetection(coco_tiny, "val2017", 80, 64, 133), 2).identity
    )


def test_means_and_standard_errors():
    values = np.random.default_rng(1).random((7, 2, 4))

    def of_block(block: np.ndarray) -> Statistics:
        return Statistics(**dict(zip(STATISTICS, block, strict=True)), positions=4, keys=4)

    made = [
        ImageStatistics(image=str(i), seconds=0, blocks={"a": of_block(a), "b": of_block(b)})
        for i, (a, b) in enumerate(values)
    ]
    found = summarise(made)
    assert list(found) == ["a", "b", MEAN]
    for name, of in (("a", values[:, 0]), ("b", values[:, 1]), (MEAN, values.mean(1))):
        for column, one in zip(STATISTICS, of.T, strict=True):
            assert found[name][column].mean == pytest.approx(one.mean(), rel=1e-12)
            assert found[name][column].standard_error == pytest.approx(one.std(ddof=1) / np.sqrt(7), rel=1e-12)
            assert found[name][column].n == 7
    assert summarise(made[:1])["a"]["jsd_att"].standard_error is None


def test_a_map_that_is_a_distribution_in_some_images_only():
    blocks = {"a": Statistics(cos_input=0, cos_output=0, cos_att=0, jsd_att=0.1, positions=4, keys=4)}
    other = {"a": blocks["a"].model_copy(update={"jsd_att": None})}
    with pytest.raises(ReproError, match="image y has other blocks or other statistics"):
        summarise(
            [ImageStatistics(image="x", seconds=0, blocks=blocks), ImageStatistics(image="y", seconds=0, blocks=other)]
        )


def test_what_is_kept(photographs, tmp_path):
    found, place = survey(subject(), photographs, tmp_path / "out", "cpu", silent)
    lines = [json.loads(line) for line in (place / "images.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == photographs.names
    assert json.loads((place / "statistics.json").read_text()) == json.loads(found.model_dump_json())
    assert list(found.statistics) == ["1", "3", MEAN]
    mean = np.mean([[line["blocks"][name]["cos_att"] for name in "13"] for line in lines])
    assert found.statistics[MEAN]["cos_att"].mean == pytest.approx(mean, rel=1e-12)
    assert [(m.name, m.n, m.standard_error is not None) for m in found.list_metrics()] == [
        (c, 3, True) for c in STATISTICS
    ]
    assert found.positions == {"1": (16, 32), "3": (16, 32)}
    again, elsewhere = survey(subject(), photographs, tmp_path / "elsewhere", "cpu", silent)
    assert again.statistics == found.statistics
    assert elsewhere.name == place.name


def test_why_numbers_are_not_the_papers(photographs, tmp_path):
    experiment = get("coco-r50-1nl")
    other = replace(subject(), experiment=experiment, trained=False, differs="no FPN")
    found, _ = survey(other, photographs, tmp_path, "cpu", silent)
    assert len(found.not_comparable) == 3
    assert "no FPN" in found.not_comparable[1]
    photographs.complete = True
    found, _ = survey(replace(subject(), experiment=experiment), photographs, tmp_path, "cpu", silent)
    assert found.not_comparable == []
    found, _ = survey(replace(subject(), experiment=shrink(experiment)), photographs, tmp_path, "cpu", silent)
    assert found.not_comparable == ["mini profile: a scaled-down network and generated images"]


def test_an_interrupted_survey_goes_on(photographs, tmp_path, monkeypatch):
    whole, place = survey(subject(), photographs, tmp_path / "whole", "cpu", silent)
    kept = (place / "images.jsonl").read_bytes().splitlines(keepends=True)
    torn = tmp_path / "torn" / place.name / "images.jsonl"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(kept[0] + kept[1][:40])
    looked_at = []
    original = surveys._survey_image
    monkeypatch.setattr(surveys, "_survey_image", lambda s, i, index: looked_at.append(index) or original(s, i, index))
    found, _ = survey(subject(), photographs, tmp_path / "torn", "cpu", silent)
    assert looked_at == [1, 2]
    assert found.statistics == whole.statistics
    assert len(torn.read_bytes().splitlines()) == 3
    survey(subject(), photographs, tmp_path / "torn", "cpu", silent)
    assert looked_at == [1, 2]


def test_a_line_that_was_changed_is_told_and_analysed_again(photographs, tmp_path, capsys):
    whole, place = survey(subject(), photographs, tmp_path, "cpu", silent)
    path = place / "images.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    digit = re.search(rb'"cos_att":0\.\d*[0-8]', lines[1]).end() - 1
    for damaged in (
        lines[1][:digit] + bytes([lines[1][digit] + 1]) + lines[1][digit + 1 :],
        re.sub(rb',"content_sha256":"\w*"', b"", lines[1]),
        lines[1].replace(b'"seconds":', b'"seconds":1'),
    ):
        assert damaged != lines[1]
        path.write_bytes(lines[0] + damaged + lines[2])
        found, _ = survey(subject(), photographs, tmp_path, "cpu", silent)
        assert found.values_sha256 == whole.values_sha256
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"line 2 of {path}" in said
        assert "analysed again" in said


def test_a_network_that_can_change_without_a_trace_is_looked_at_again(photographs, tmp_path):
    first, _ = survey(subject(key=None), photographs, tmp_path, "cpu", silent)
    other = subject(key=None)
    trained(other.network, seed=7)
    second, _ = survey(other, photographs, tmp_path, "cpu", silent)
    assert second.statistics != first.statistics


def test_an_image_that_fails_is_named(photographs, tmp_path):
    broken = subject()
    nn.init.constant_(broken.network[2].weight, torch.nan)
    with pytest.raises(ReproError, match=r"image a\.jpg: block 3, cos_input: a vector is not finite"):
        survey(broken, photographs, tmp_path, "cpu", silent)


def test_random_weights_have_an_output_and_are_those_of_the_seed():
    settings = Settings(results=None, profile="mini")
    made = load_experiment("coco-r50-1nl", settings, random=True)
    (block,) = find_blocks(made.network).values()
    assert isinstance(block, NonLocalBlock)
    assert block.conv_out.weight.abs().sum() > 0
    again = load_experiment("coco-r50-1nl", settings, random=True)
    assert all(torch.equal(a, b) for a, b in zip(made.network.parameters(), again.network.parameters(), strict=True))
    assert not made.trained
    other = load_experiment("coco-r50-1nl", replace(settings, seed=1), random=True)
    assert not torch.equal(block.conv_out.weight, next(iter(find_blocks(other.network).values())).conv_out.weight)


def test_the_mini_profile_takes_the_weights_of_its_training(tmp_path):
    settings = Settings(results=tmp_path, profile="mini", seed=3)
    with pytest.raises(ReproError, match=re.escape(f"--profile mini --seed 3 --results {tmp_path}`")):
        load_experiment("coco-r50-1nl", settings, random=False)


def test_weights_of_a_file(tmp_path, monkeypatch):
    """A weights.pt that a training here left; the full-size network is replaced by the small one to save time."""
    small = shrink(get("coco-r50-1nl"))
    monkeypatch.setattr(mini, "get_at_profile", lambda name, profile: small)
    file = tmp_path / "weights.pt"
    full = Settings(results=tmp_path, profile="full", weights=str(file))
    model = MaskRCNN(small.network)
    torch.save(model.state_dict(), file)
    made = load_experiment("coco-r50-1nl", full, random=False)
    assert torch.equal(made.network.conv1.weight, model.backbone.conv1.weight)
    wider = replace(small.network, backbone=replace(small.network.backbone, width=16))
    torch.save(MaskRCNN(wider).state_dict(), file)
    with pytest.raises(ReproError, match="does not fit the network"):
        load_experiment("coco-r50-1nl", full, random=False)
    with pytest.raises(ReproError, match="which weights"):
        load_experiment("coco-r50-1nl", replace(full, weights=None), random=False)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coco-r50-baseline", "no non-local block"),
        ("coco-r50-gc-r16", "one attention map for all positions"),
        ("kinetics-r50-5gc", "one attention map for all positions"),
        ("coco-r50-1nll", "did you mean coco-r50-1nl"),
    ],
)
def test_experiments_without_blocks(name, says, tmp_path):
    with pytest.raises(ReproError, match=says):
        load_experiment(name, Settings(results=tmp_path, profile="mini"), random=True)


def test_no_images(tmp_path):
    with pytest.raises(ReproError, match="--images"):
        choose_images(subject(), Settings(results=tmp_path, profile="full"))


def test_what_table_1_prints():
    assert load_published("coco-r50-1nl") == {
        "cos_input": 0.402,
        "cos_output": 0.012,
        "cos_att": 0.020,
        "jsd_att": 0.011,
    }
    assert set(load_published("coco-r50-1nl-concat")) == {"cos_input", "cos_output", "cos_att"}
    assert load_published("coco-r50-baseline") == load_published(None) == {}


def test_inputs_for_weights_that_were_trained_elsewhere_by_this_project_are_prepared_as_here(tmp_path):
    """Of networks for clips, whose preprocessing no publisher says."""
    name = "kinetics-r50-5nl"
    settings = Settings(results=tmp_path, profile="mini", weights=f"gcnet-repro={tmp_path / 'weights.pt'}")
    network = task_for(mini.get_at_profile(name, "mini"), settings).build_network()
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    subject = load_experiment(name, settings, random=False)
    assert subject.inputs == network.inputs == mini.kinetics.PREPROCESSING
