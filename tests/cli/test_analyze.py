"""`repro analyze` and `repro figure` as a user meets them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import typer
import video_files
from PIL import Image
from typer.testing import CliRunner

from repro.analysis.survey import Survey
from repro.cli import analyze, figure
from repro.errors import ReproError

app = typer.Typer()
app.command("analyze")(analyze.command)
app.command("figure")(figure.command)

MODEL = """
import torch
from torch import nn
from neighbour import WIDTH

class Attends(nn.Module):
    def attention(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return (tokens @ tokens.transpose(1, 2)).softmax(-1)

    def forward(self, x):
        return x + (self.attention(x) @ x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[2:])

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(32), nn.Conv2d(3, WIDTH, 1), Attends())

def observing():
    from repro.analysis.attention import Observation

    def observe(inputs):
        x = nn.functional.avg_pool2d(inputs, 64)[0]
        n = x[0].numel()
        yield Observation("mine", x, 2 * x, [torch.full((n, n), 1 / n)], True)

    return observe

def of_clips():
    return nn.Sequential(nn.AvgPool3d((4, 32, 32)), Attends())

def nothing():
    return 3

def fails():
    raise KeyError("lost")

class Crashes(Attends):
    def forward(self, x):
        raise ZeroDivisionError("in forward")
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n")
    (tmp_path / "net.py").write_text(MODEL)
    return tmp_path / "net.py"


@pytest.fixture
def photographs(tmp_path):
    directory = tmp_path / "photographs"
    directory.mkdir()
    generator = np.random.default_rng(0)
    for name in ("one.png", "two.png", "three.png"):
        coarse = generator.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((96, 64)).save(directory / name)
    return directory


@pytest.fixture
def repro(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("REPRO_DATA", raising=False)

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, list(map(str, arguments)))
        if result.exception:
            raise result.exception
        return result.stdout

    return run


MINI = ("coco-r50-1nl", "--profile", "mini", "--random")


def test_an_experiment(repro, photographs, tmp_path):
    text = repro("analyze", *MINI, "--images", photographs)
    assert re.search(r"layer3\.0\.context_block( +0\.\d{4} ± [\d.e-]+){4}\n", text)
    assert re.search(r"Table 1 prints +0\.402 +0\.012 +0\.020 +0\.011\n", text)
    assert "random weights of seed 0" in text
    assert "Not to be compared with Table 1: mini profile" in text
    assert "difference" not in text
    (kept,) = (tmp_path / "results" / "analysis").glob("*/images.jsonl")
    assert f"each image's: {kept}" in text
    assert len(kept.read_text().splitlines()) == 3


@pytest.mark.rounding
def test_json_is_alone_on_stdout_and_deterministic(repro, photographs, tmp_path):
    first = json.loads(repro("analyze", *MINI, "--images", photographs, "--limit", 2, "--json"))
    again = json.loads(
        repro("analyze", *MINI, "--images", photographs, "--limit", 2, "--json", "--results", tmp_path / "other")
    )
    assert first["statistics"] == again["statistics"]
    assert (first["n"], first["experiment"], first["profile"]) == (2, "coco-r50-1nl", "mini")
    seed = json.loads(repro("analyze", *MINI, "--images", photographs, "--limit", 2, "--json", "--seed", 1))
    assert seed["statistics"] != first["statistics"]


def test_a_difference_is_shown_only_of_what_can_be_compared(repro, photographs):
    found = Survey.model_validate_json(repro("analyze", *MINI, "--images", photographs, "--limit", 1, "--json"))
    assert "the weights are random" in found.not_comparable
    assert "the images or videos are not the whole of the paper's validation set" in found.not_comparable
    assert "\ndifference" not in analyze._describe(found)
    comparable = found.model_copy(update={"not_comparable": []})
    own = found.statistics[found.total]["jsd_att"].mean
    assert re.search(rf"difference .* {re.escape(f'{own - 0.011:+.4f}')}\n", analyze._describe(comparable))


def test_videos_and_a_network_for_clips(repro, model, tmp_path):
    """Each video is its clip in the middle, (1, 3, 8, 256, 256)."""
    (tmp_path / "videos").mkdir()
    for name in ("one.mp4", "two.avi"):
        video_files.write(tmp_path / "videos" / name, "libx264" if name.endswith("4") else "mpeg4", frames=70)
    text = repro("analyze", "--model", f"{model}:of_clips", "--images", tmp_path / "videos")
    assert f"{tmp_path / 'videos'}: 2 videos" in text
    assert "1: 128 query positions in each" in text
    repro("figure", 2, "--model", f"{model}:of_clips", "--images", tmp_path / "videos")
    assert len(list((tmp_path / "results" / "figures").iterdir())) == 2


def test_an_experiment_of_kinetics(repro, tmp_path):
    video_files.write(tmp_path / "clip.mp4", frames=30)
    kinetics = ("kinetics-r50-5nl", "--profile", "mini", "--random", "--images")
    found = Survey.model_validate_json(repro("analyze", *kinetics, tmp_path / "clip.mp4", "--json"))
    names = [f"layer2.{i}.context_block" for i in (1, 3)] + [f"layer3.{i}.context_block" for i in (1, 3, 5)]
    assert list(found.statistics) == [*names, "mean of blocks"]
    assert [metric.name for metric in found.list_metrics()] == ["cos_input", "cos_output", "cos_att", "jsd_att"]
    assert "figure2.kinetics-r50-5nl.mini" in repro("figure", 2, "--experiment", *kinetics, tmp_path / "clip.mp4")
    (tmp_path / "photograph.png").write_bytes(b"")
    with pytest.raises(ReproError, match="kinetics-r50-5nl takes videos, and --images names photographs"):
        repro("analyze", *kinetics, tmp_path / "photograph.png")
    with pytest.raises(ReproError, match="coco-r50-1nl takes photographs, and --images names videos"):
        repro("analyze", *MINI, "--images", tmp_path / "clip.mp4")
    with pytest.raises(ReproError, match=r"photograph\.png is a photograph and .*clip\.mp4 a video"):
        repro("analyze", *kinetics, tmp_path)


def test_signed_maps_have_a_dash(repro, photographs):
    text = repro("analyze", "coco-r50-1nl-dot-product", *MINI[1:], "--images", photographs, "--limit", 1)
    assert "JSD" not in text
    assert re.search(r"Table 1 prints +0\.405 +0\.020 +0\.015\n", text)


@pytest.mark.rounding
def test_ones_own_model(repro, model, photographs):
    text = repro("analyze", "--model", f"{model}:build", "--images", photographs)
    assert "net.build: as" in text
    assert "Table 1" not in text
    found = json.loads(repro("analyze", "--model", f"{model}:observing", "--images", photographs, "--json"))
    assert found["statistics"]["mine"]["jsd_att"]["mean"] == pytest.approx(0, abs=1e-12)
    own = found["statistics"]["mine"]
    assert own["cos_input"]["mean"] == pytest.approx(own["cos_output"]["mean"])


def test_figures(repro, model, photographs, tmp_path):
    text = repro("figure", 2, "--model", f"{model}:build", "--images", photographs, "--limit", 2)
    repro("figure", 1, "--experiment", *MINI, "--images", photographs / "one.png")
    drawn = sorted((tmp_path / "results" / "figures").iterdir())
    names = [re.sub(r"\.[0-9a-f]{12}", "", path.name) for path in drawn]
    assert names == [
        "figure1.coco-r50-1nl.mini.pdf", "figure1.coco-r50-1nl.mini.png",
        "figure2.net.build.pdf", "figure2.net.build.png",
    ]  # fmt: skip
    assert str(drawn[3]) in text
    with pytest.raises(ReproError, match="unknown block 'layer3'"):
        repro("figure", 1, "--model", f"{model}:build", "--images", photographs, "--block", "layer3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name an experiment"),
        (("coco-r50-1nl", "--model", "a.py:b"), "not both"),
        (("--model", "a.py:b", "--random"), "sets its own weights"),
        (("coco-r50-1nl", "--random", "--weights", "x"), "exclude each other"),
        (("coco-r50-1nl", "--profile", "mini", "--weights", "x"), "belongs to the full profile"),
        (("coco-r50-1nl", "--profile", "tiny"), "unknown value of --profile"),
        (("coco-r50-1nl",), "repro run coco-r50-1nl --profile mini --seed 0"),
        (("coco-r50-gc-r16", *MINI[1:]), "one attention map for all positions"),
        ((*MINI, "--images", "nowhere"), "nowhere cannot be read: it does not exist"),
        (("--model", "nowhere.py:build", "--images", "."), "there is no file"),
        (("--model", "nowhere.py", "--images", "."), "FILE.py:FACTORY"),
    ],
)
def test_what_is_refused(repro, arguments, says):
    with pytest.raises(ReproError, match=re.escape(says)):
        repro("analyze", *arguments)


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("nothing", "returned int, neither"),
        ("fails", "KeyError: 'lost'"),
        ("missing", "has no function 'missing'"),
        ("Crashes", "ZeroDivisionError: in forward"),
    ],
)
def test_models_that_fail(repro, model, photographs, factory, says):
    with pytest.raises(ReproError, match=re.escape(says)):
        repro("analyze", "--model", f"{model}:{factory}", "--images", photographs)
