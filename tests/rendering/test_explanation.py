"""`repro explain`: a cell is found under any sensible name, and everything about it is told."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from samples import PARAMS, count, published, record

from repro import cli, paper
from repro.cli import explain as explain_verb
from repro.errors import ReproError
from repro.experiments import EXPERIMENTS, description, get
from repro.paper import addresses
from repro.records import Store

TABLE = paper.load(2)
GC = published(TABLE, "coco-r50-1gc")


def test_every_cell_is_found_under_its_own_address():
    for cell in (cell for table in paper.load_all() for cell in table.cells):
        assert addresses.find(cell.address) == (cell,)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("2/a/+1GC/ap_box", "2/a/+1 GC/ap_box"),
        ("Table 2/A/1gc/AP Box", "2/a/+1 GC/ap_box"),
        ("5/+5 GC/top1", "5//+5 GC/top1"),
        ("5//all gc/Top-5", "5//+all GC/top5"),
        ("2/d/w/o ratio/params", "2/d/w/o ratio/params"),
        ("2/d/r16/ap_box", "2/d/r16 (ratio 16)/ap_box"),
        ("2/d/r16+ReLU/ap_box", "2/d/r16+ReLU/ap_box"),
        ("2/afterAdd/#param", "2/b/afterAdd/params"),
        ("4/b/avg+scale/FLOPs", "4/b/avg+scale (SENet)/flops"),
        ("1/kinetics/dot product/cos att", "1/Kinetics/Dot product/cos_att"),
    ],
)
def test_names_need_not_be_exact(name, found):
    assert [cell.address for cell in addresses.find(name)] == [found]


def test_a_row_is_all_of_its_cells():
    row = next(row for row in TABLE.rows if row.label == "+1 GC")
    assert addresses.find("2/a/+1 GC") == row.cells


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2/a/+2GC/ap_box", "did you mean 2/a/+1 GC/ap_box"),
        ("2/a/+1GC/ap_bax", "did you mean 2/a/+1 GC/ap_box"),
        ("4/b/SENet", "did you mean 4/b/avg+scale (SENet)"),
        ("2/baseline/ap_box", "is in several groups: 2/a/baseline/ap_box or 2/b/baseline/ap_box"),
        ("6/a/baseline", "does not begin with a table of the paper, 1 to 5"),
        ("coco-r50-1gc", "does not begin with a table"),
        ("2", "unknown cell '2'"),
        ("", "does not begin with a table"),
        ("²/a", "does not begin with a table"),
        ("1/COCO/Concat/jsd_att", "unknown cell"),  # a dash in the paper
    ],
)
def test_what_there_is_not_is_refused_with_what_is_near(name, words):
    with pytest.raises(ReproError, match=re.escape(words)):
        addresses.find(name)


def test_networks_and_recipes_in_words():
    assert description.describe_network(get("coco-x101-dcn-cascade-gc-r4")) == (
        "Cascade Mask R-CNN with FPN on a ResNeXt-101 32x4d, deformable 3x3 convolutions in c3, c4, c5, context block "
        "(attention pooling, bottleneck of ratio 4 with layer norm and ReLU, fusion by addition) in all blocks of c3, "
        "all blocks of c4, all blocks of c5, after1x1"
    )
    assert description.describe_network(get("coco-r50-1snl")).endswith(
        "context block (attention pooling, one 1x1 convolution, fusion by addition) in the last but one block of c4, "
        "afterAdd"
    )
    assert description.describe_network(get("kinetics-r50-5nl")).startswith(
        "ResNet-50, inflated to 3-D, 400 classes, input 8x224x224, frames spread over the clip, non-local block "
        "(embedded gaussian, scaled logits) in block 2 of c3"
    )
    assert description.describe_recipe(get("kinetics-r50-5nl")) == (
        "118 epochs of Kinetics-400 in batches of 64, SGD with Nesterov's momentum at a learning rate of 0.01, a "
        "tenth of it after epochs 44 and 88, weight decay 0.0001, of batch norm 0, statistics of batch norm over 200 "
        "batches at the end, from torchvision/resnet50-19c8e357, inflated (mean)"
    )
    assert description.describe_recipe(get("coco-r50-baseline")).startswith(
        "12 epochs of COCO in batches of 16, SGD at a learning rate of 0.02, a tenth of it after epochs 8 and 11"
    )
    assert "cosine decay" in description.describe_recipe(get("imagenet-r50-gc-r16"))


def test_no_two_experiments_of_one_task_are_described_alike():
    texts = {(description.describe_network(e), description.describe_recipe(e)) for e in EXPERIMENTS.values()}
    assert len(texts) == len(EXPERIMENTS)


@pytest.fixture
def explain(monkeypatch, capsys, tmp_path):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["repro", "explain", *arguments, "--results", str(tmp_path)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        output = capsys.readouterr()
        return exit_.value.code or 0, output.out, output.err

    return run


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "records")


def test_everything_about_a_measured_cell(store, explain, tmp_path):
    days = [f"2026-01-0{day}T00:00:00+00:00" for day in range(1, 6)]
    stale = record("coco-r50-1gc", GC, spec_hash="0" * 64, created=days[0])
    used = record("coco-r50-1gc", {**GC, "ap_box": 38.2}, created=days[1], deviations=["one"])
    of_part = {"deviations": ["one"], "evaluated": 4000, "ids_sha256": "c" * 64}
    part = record("coco-r50-1gc", {**GC, "ap_box": 30.0}, created=days[2], **of_part)
    part = part.model_copy(update={"weights": used.weights})
    other = record("coco-r50-1gc", GC, created=days[3], deviations=["one", "two"], engine="detectron2")
    small = record("coco-r50-1gc", GC, created=days[4], profile="mini")
    for made in (stale, used, part, other, small):
        store.add(made)
    code, out, _ = explain("2/a/+1GC/ap_box", "--json")
    (found,) = json.loads(out)
    assert code == 0
    assert (found["address"], found["experiment"], found["dataset"]) == (
        "2/a/+1 GC/ap_box",
        "coco-r50-1gc",
        "coco-val2017",
    )
    assert (found["verdict"]["verdict"], found["verdict"]["ours"], found["verdict"]["printed"]) == (
        "compatible",
        38.2,
        "38.1",
    )
    assert found["deviations"] == ["one", "two"]
    assert [way["ours"] for way in found["verdict"]["ways"]] == [38.2, 38.1]
    assert [(one["file"], one["use"], one["value"]) for one in found["history"]] == [
        (stale.filename, "stale", 38.1),
        (used.filename, "used", 38.2),
        (part.filename, "left out", 30.0),
        (other.filename, "used", 38.1),
        (small.filename, "mini profile", 38.1),
    ]
    assert found["commands"] == [
        f"repro run coco-r50-1gc --profile full --source trained --data-root DIR --results {tmp_path}"
    ]
    code, out, _ = explain("2/a/+1GC/ap_box")
    for text in (
        "published    38.1 %",
        "38.20",
        "compatible",
        "trained here",
        "sigma_0",
        "deviation 1  one",
        used.filename,
    ):
        assert text in out


def test_a_cell_that_was_not_measured_says_what_it_takes(explain):
    out = explain("2/a/baseline/ap_box")[1]
    assert "not run: needs COCO 2017" in out
    assert "also in" in out
    assert "2/f/baseline/ap_box" in out
    assert "repro run coco-r50-baseline --profile full --source checkpoint --data-root DIR" in out
    hidden = explain("3/b/X101+Cascade baseline/ap_box")[1]
    assert "repro submit coco-x101-cascade-baseline" in hidden
    assert "repro record-external coco-x101-cascade-baseline" in hidden
    assert "repro reproduce --table 1 --profile full --data-root DIR" in explain("1/coco/e-gaussian/jsd att")[1]


def test_a_table_without_groups_has_no_title_of_one(explain):
    assert "  experiment   kinetics-r50-baseline, kinetics-val\n" in explain("5//baseline/top1")[1]
    assert "  experiment   coco-r50-baseline, Block design, coco-val2017\n" in explain("2/a/baseline/ap_box")[1]


def test_the_examples_of_the_help_work(explain):
    examples = [
        shlex.split(line) for line in (explain_verb.command.__doc__ or "").splitlines() if "repro explain" in line
    ]
    assert len(examples) == 2
    for _, _, cell in examples:
        assert explain(cell)[0] == 0


def test_the_weights_that_serve_a_cell_are_named_with_what_their_publisher_reports(explain):
    (found,) = json.loads(explain("2/a/all gc/ap_box", "--json")[1])
    exact = [weights for weights in found["weights"] if weights["match"] == "exact"]
    assert exact
    assert all(weights["reported"] for weights in exact if weights["obstacle"] is None)


def test_a_counted_cell_tells_its_count_and_the_ledger(store, explain):
    store.add_count(count("coco-r50-1snl", PARAMS["coco-r50-1snl"], 279.4))
    (found,) = json.loads(explain("2/a/+1 SNL/params", "--json")[1])
    assert found["verdict"]["verdict"] == "match"
    assert found["ledger"]["ours"] == PARAMS["coco-r50-1snl"]
    assert found["history"] == []
    out = explain("2/a/+1 SNL/#param")[1]
    assert "ruled out:" in out
    assert "complexity/coco-r50-1snl." in out


def test_what_is_wrong_with_a_record_stands_beside_it(store, explain):
    made = record("coco-r50-1gc", GC, key="7" * 64)
    store.add(made)
    out = explain("2/a/+1GC/ap_box")[1]
    assert "inconclusive" in out
    assert "wrong: its key is not that of its predictions" in out


def test_an_unknown_cell_exits_2_with_the_nearest(explain):
    code, _, err = explain("2/a/+2 GC/ap_box")
    assert code == 2
    assert err.startswith("error: unknown cell '2/a/+2 GC/ap_box': did you mean")
