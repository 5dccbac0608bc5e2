"""Curves of trainings: what is drawn of which, and that it can stand in a page."""

from __future__ import annotations

import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from repro.cli import app
from repro.errors import ReproError
from repro.rendering.curves import _smooth, draw_curves, find_logs, write_svg

NAMES = ("coco-r50-baseline", "coco-r50-gc-r16")


def keep(results, name, seed, losses, *, key="0" * 12, evaluations=None):
    """A training's directory with its log, and with a table if there are evaluations."""
    directory = results / "runs" / f"{name}.mini.seed{seed}.{key}"
    directory.mkdir(parents=True)
    lines = [{"iteration": i, "lr": 0.1, "losses": {"loss_class": v / 2, "loss_box": v / 2}, "norm": 1.0}
             for i, v in enumerate(losses, 1)]  # fmt: skip
    (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if evaluations:
        rows = [f"{i},{v},{v / 2},{v / 2},0.1,1.0,20.0,\n" for i, v in enumerate(losses, 1)]
        rows += [f"{step},,,,,,,{value}\n" for step, value in evaluations.items()]
        header = "step,loss,loss_class,loss_box,lr,gradient_norm,images_per_second,evaluation/ap_box\n"
        (directory / "metrics.csv").write_text(header + "".join(rows))
    return directory


@pytest.fixture
def results(tmp_path):
    for name in NAMES:
        for seed in range(2):
            keep(tmp_path, name, seed, [4.0 - seed, 2.0, 1.0], evaluations={2: 10.0 + seed, 3: 20.0})
    (tmp_path / "runs" / "mini-coco-pretraining.0123456789ab").mkdir()
    (tmp_path / "runs" / "mini-coco-pretraining.0123456789ab" / "log.jsonl").write_text("")
    return tmp_path


def lines_of(axis):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines if len(line.get_xdata())]


def test_each_seed_and_the_mean_of_them_is_drawn(results):
    figure = draw_curves(find_logs(results))
    by_title = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}
    assert set(by_title) == {
        "loss", "gradient norm", "learning rate", "images per second",
        "AP box of the validation split (%)",
    }  # fmt: skip
    losses = lines_of(by_title["loss"])
    assert losses[:3] == [([1, 2, 3], y) for y in ([4, 2, 1], [3, 2, 1], [3.5, 2, 1])]
    assert len(losses) == 6
    assert lines_of(by_title["AP box of the validation split (%)"])[2] == ([2, 3], [10.5, 20])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [f"{name} (mini), mean of 2 seeds" for name in NAMES]


def test_of_a_single_experiment_the_terms_are_drawn_and_of_an_old_log_what_it_has(tmp_path):
    directory = keep(tmp_path, NAMES[0], 0, [4.0, 2.0, 1.0])
    figure = draw_curves(find_logs(tmp_path))
    by_title = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.get_visible()}
    assert set(by_title) == {"loss", "loss terms", "gradient norm", "learning rate"}
    assert lines_of(by_title["loss terms"])[0] == ([1, 2, 3], [2, 1, 0.5])
    assert find_logs(tmp_path)[0].key == directory.name[-12:]


def test_of_two_trainings_of_a_seed_the_newer_one_is_drawn(tmp_path):
    old, new = (keep(tmp_path, NAMES[0], 0, [value], key=key * 12) for value, key in ((1.0, "b"), (2.0, "a")))
    os.utime(old / "log.jsonl", (1, 1))
    os.utime(new / "log.jsonl", (2, 2))
    assert [(log.key, log.rows.training[0]["loss"]) for log in find_logs(tmp_path)] == [("a" * 12, 2.0)]


def test_two_drawings_can_stand_in_one_page(results):
    ids = []
    for name in NAMES:
        svg = ElementTree.fromstring(write_svg(draw_curves(find_logs(results, [name])), name, f"of <{name}>"))
        assert svg.get("aria-label") == f"of <{name}>"
        own = [element.get("id") for element in svg.iter() if element.get("id")]
        ids += own
        links = [value for element in svg.iter() for key, value in element.items()
                 if key.endswith("href") or value.startswith("url(")]  # fmt: skip
        assert {link.removeprefix("url(").strip("#)") for link in links} <= set(own)
    assert len(ids) == len(set(ids))


def test_the_same_logs_are_the_same_drawing(results):
    first, second = (write_svg(draw_curves(find_logs(results)), "c", "d") for _ in range(2))
    assert first == second


def test_a_mean_over_neighbours_is_that():
    values = np.random.default_rng(0).normal(size=400)  # 5 on both sides
    assert _smooth(values)[100] == pytest.approx(values[95:106].mean())
    assert _smooth(values)[1] == pytest.approx(values[:7].mean())
    assert _smooth(values)[-1] == pytest.approx(values[-6:].mean())


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_verb_writes_either_format(kind, results, tmp_path):
    file = tmp_path / f"curves.{kind}"
    result = CliRunner().invoke(app, ["curves", NAMES[0], "--results", str(results), "--output", str(file)])
    assert (result.exit_code, result.stdout) == (0, f"{file}\n")
    assert file.read_bytes().startswith({"svg": b"<svg", "png": b"\x89PNG"}[kind])


def test_what_was_not_trained_is_said(results, tmp_path):
    for arguments, words in (
        (["coco-r50-1nl"], "no training of coco-r50-1nl is logged"),
        (["--profile", "full"], "no training of any experiment"),
        (["--output", "curves.pdf"], "unknown value of --output '.pdf'"),
        (["--results", tmp_path / "nothing"], "no training of any experiment"),
    ):
        result = CliRunner().invoke(app, ["curves", "--results", str(results), *map(str, arguments)])
        assert isinstance(result.exception, ReproError)
        assert words in str(result.exception)
