"""The page's colours, from its style sheet: every text and mark stands out from what is behind it (WCAG 2, AA)."""

from __future__ import annotations

import re

import pytest

from repro.paths import TEMPLATES

CSS = (TEMPLATES / "report.css").read_text(encoding="utf-8")
#: Only drawn as fine lines and bands, beside which the same is said in numbers: `--line`.
DECORATION = {"--line"}


def read_scheme(scheme):
    """The colours of a scheme, by the name of their variable."""
    light, dark = re.findall(r":root \{([^}]*)\}", CSS)[:2]
    found = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", light))
    return found | (dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]{6})", dark)) if scheme == "dark" else {})


def compute_luminance(color):
    """Relative luminance as WCAG 2 defines it."""
    channels = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def compute_contrast(first, second):
    low, high = sorted(map(compute_luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def test_the_ratio_is_that_of_the_standard():
    assert compute_contrast("#000000", "#ffffff") == pytest.approx(21)
    assert compute_contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # the known just-too-light grey


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["--ground", "--raised"])
def test_every_colour_of_a_text_stands_out(scheme, ground):
    colors = read_scheme(scheme)
    texts = set(re.findall(r"[{; ](?:color|fill): var\((--[a-z-]+)\)", CSS)) - {
        "--ground",
        "--raised",
        "--ink",
        *DECORATION,
    }
    assert {"--text", "--quiet", "--link", "--match", "--off", "--inconclusive", "--ledger"} <= texts
    ratios = {name: compute_contrast(colors[name], colors[ground]) for name in texts}
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}


def test_curves_are_drawn_on_paper_in_both_schemes():
    for colors in map(read_scheme, ("light", "dark")):
        assert compute_contrast(colors["--ink"], colors["--paper"]) > 7
    assert ".curves svg text { fill: var(--ink)" in CSS
    assert re.search(r"\.curves svg \{[^}]*background: var\(--paper\)", CSS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_colour_of_a_line_that_is_read_stands_out(scheme):
    colors = read_scheme(scheme)
    strokes = set(re.findall(r"stroke: var\((--[a-z-]+)\)", CSS)) - DECORATION
    assert {name for name in strokes if compute_contrast(colors[name], colors["--ground"]) < 3} == set()


def test_no_colour_stands_outside_the_schemes():
    rest = re.sub(r":root \{[^}]*\}", "", CSS)
    assert not re.search(r"#[0-9a-fA-F]{3,8}\b(?! \{)", re.sub(r"#[a-z][a-z-]+", "", rest))
