"""`tables/readings.yaml` against the code, the rows and damaged copies of itself."""

from __future__ import annotations

import pytest
import yaml

from repro import paper
from repro.errors import ReproError
from repro.experiments import readings as coded
from repro.paper import addresses, readings
from repro.paths import TABLES

FILE = TABLES / "readings.yaml"


def concern(cell):
    if cell.column in ("cos_input", "cos_output", "cos_att", "jsd_att"):
        return "attention"
    return "counts" if cell.column in ("params", "flops") else "accuracy"


def test_rows_are_exactly_those_whose_experiment_a_choice_changes():
    for point in readings.load():
        touched = {
            name
            for choice in point.choices
            if choice != point.default
            for name in coded.list_touched(point.point, choice)
        }
        said = {address for address in readings.list_rows() for p in point.rows if readings._matches(p, address)}
        computed = {
            address
            for address, (_, row) in readings.list_rows().items()
            if row.experiment in touched and {concern(cell) for cell in row.cells} & set(point.concerns)
        }
        assert said == computed, point.point


def test_every_point_and_choice_of_the_code_is_in_the_file():
    assert {point.point: list(point.choices) for point in readings.load()} == {
        point: list(choices) for point, choices in coded.POINTS.items()
    }


def test_points_that_touch_a_cell_depend_on_its_row_and_column():
    def names(address):
        return {point.point for point in readings.list_touching(addresses.find(address))}

    assert "scale-layer-norm" in names("2/f/att+scale")
    assert "scale-layer-norm" in names("2/f/att+scale/params")
    assert "scale-layer-norm" not in names("2/f/att+add")
    assert "single-block-relu" in names("2/a/+1 NL/ap_box")
    assert "single-block-relu" in names("1/COCO/Gaussian/jsd_att")
    assert "single-block-relu" not in names("2/a/+1 NL/params")
    assert "single-block-relu" not in names("2/b/afterAdd")


def edited(tmp_path, change):
    content = yaml.safe_load(FILE.read_text())
    change(content)
    path = tmp_path / "readings.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[0].update(default="after"), "default is 'after', in the code 'before'"),
        (lambda c: c[0].update(point="gone"), "the code has no point 'gone'"),
        (lambda c: c[0]["choices"].pop("after"), "choices"),
        (
            lambda c: c[0]["choices"].update(third=c[0]["choices"]["after"]),
            "choices are before, after, third; the code",
        ),
        (lambda c: c[0].update(rows=["2/a/+1 GCC"]), "rows: the paper has no row '2/a/+1 GCC'"),
        (lambda c: c[0]["choices"]["after"].update(evidence=[]), "0.choices.after.evidence"),
        (lambda c: c[0]["choices"]["after"].update(proof="none"), "0.choices.after.proof"),
        (lambda c: c[0].update(effect="large"), "0.effect"),
        (lambda c: c[0].update(concerns=["speed"]), "0.concerns.0"),
        (lambda c: c.pop(0), "has the points"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_key(change, message, tmp_path):
    path = edited(tmp_path, change)
    with pytest.raises(ReproError) as caught:
        readings.load(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_the_paper_is_quoted_as_it_prints():
    assert len(readings.list_rows()) == sum(len(table.rows) for table in paper.load_all()) == 72
