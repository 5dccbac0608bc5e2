"""Top-1 and top-5 against torch.topk, standard errors against scipy, and the predictions file against damage."""

import gzip
import hashlib
import json

import imagenet_trees as trees
import numpy as np
import pytest
import torch
from scipy import stats

from repro.data.imagenet import ImageNet
from repro.errors import ReproError
from repro.evaluation.topk import (
    Prediction,
    compute_standard_error,
    evaluate,
    load_predictions,
    rank_predictions,
    save_predictions,
)

pytestmark = pytest.mark.rounding

CLASSES = tuple(f"n{i:08d}" for i in range(20))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    picture = trees.photograph(0, (8, 8))
    trees.write(root / "val", {f"{CLASSES[i % 20]}/image{i:03d}.JPEG": picture for i in range(90)})
    return ImageNet(root, "val", wnids=CLASSES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions" / "a.json.gz"


def scores(n=90, classes=20, seed=0):
    return torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


def of(data, logits=None):
    return rank_predictions(scores() if logits is None else logits, data.labels, data.ids)


# -- accuracy ---------------------------------------------------------------------------------------------------------


def test_accuracy_against_torch_topk(data):
    labels = torch.from_numpy(data.labels)
    hits = scores().topk(5).indices == labels[:, None]
    expected = {
        "top1": 100 * hits[:, :1].any(1).double().mean().item(),
        "top5": 100 * hits.any(1).double().mean().item(),
    }
    assert evaluate(of(data), data) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected["top1"] < expected["top5"] < 100


def test_the_order_of_predictions_does_not_matter(data):
    assert evaluate(of(data)[::-1], data) == evaluate(of(data), data)


def test_a_network_that_says_nothing_is_right_about_the_first_classes(data):
    """Ties go to the lower class: of 90 images, five are of each of the classes 0 to 9."""
    found = of(data, torch.zeros(90, 20))
    assert all(one.classes == [0, 1, 2, 3, 4] for one in found)
    assert evaluate(found, data) == pytest.approx({"top1": 100 * 5 / 90, "top5": 100 * 25 / 90})


def test_ties_at_the_fifth_place():
    (one,) = rank_predictions(torch.tensor([[1.0, 3.0, 0.0, 1.0, 2.0, 1.0, 1.0]]), [6], ["a"])
    assert one.classes == [1, 4, 0, 3, 5]
    assert not one.is_correct(5)


def test_fewer_classes_than_five_and_half_precision():
    (one,) = rank_predictions(torch.tensor([[0.5, 2.0, -1.0]], dtype=torch.bfloat16), [0], ["a"])
    assert (one.classes, one.logits) == ([1, 0, 2], [2.0, 0.5, -1.0])
    assert (one.is_correct(1), one.is_correct(5)) == (False, True)


def test_logits_that_are_not_finite_are_named(data):
    logits = scores()
    logits[7, 3] = torch.nan
    with pytest.raises(ReproError, match="image image007 is not finite"):
        of(data, logits)


def test_standard_error_against_scipy():
    for right, n in ((38440, 50000), (0, 10), (3, 7)):
        expected = 100 * stats.binom(n, right / n).std() / n
        assert compute_standard_error(100 * right / n, n) == pytest.approx(expected, rel=1e-12)


# -- exactly the expected images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[:-2], r"2 missing \(image088, image089\)"),
        (lambda found: [*found, found[3]], r"1 there more than once \(image003\)"),
        (lambda found: [*found[1:], Prediction("other", 0, [0], [0.0])], r"1 missing \(image000\); 1 not in the data"),
        (lambda found: [Prediction("image000", 5, [0], [0.0]), *found[1:]], r"image000 was made for class 5 .* is 0"),
    ],
)
def test_other_images_than_the_expected_ones(data, change, message):
    with pytest.raises(ReproError, match=message):
        evaluate(change(of(data)), data)


def test_unreadable_images_are_left_out_only_by_name(data):
    found = of(data)
    right = sum(one.is_correct(1) for one in found[2:])
    assert evaluate(found[2:], data, failed=["image000", "image001"])["top1"] == pytest.approx(100 * right / 88)
    with pytest.raises(ReproError, match=r"1 missing \(image001\)"):
        evaluate(found[2:], data, failed=["image000"])
    with pytest.raises(ReproError, match=r"1 there more than once \(image000\)"):
        evaluate(found, data, failed=["image000"])
    with pytest.raises(ReproError, match="none of the 90 images"):
        evaluate([], data, failed=data.ids)


# -- the file ---------------------------------------------------------------------------------------------------------


def test_round_trip(data, path):
    save_predictions(of(data)[::-1], path)
    assert load_predictions(path) == of(data)
    logits = torch.tensor([one.logits for one in load_predictions(path)])
    assert torch.equal(logits, scores().topk(5).values), "float32 in full"


def test_the_same_bytes_for_the_same_predictions(data, path, tmp_path):
    sha256 = save_predictions(of(data), path)
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == sha256
    assert save_predictions(iter(of(data)[::-1]), tmp_path / "b.json.gz") == sha256
    assert save_predictions(load_predictions(path), tmp_path / "c.json.gz") == sha256
    assert path.read_bytes()[4:8] == bytes(4), "no time of writing"
    logits = scores()
    best = int(logits[4].argmax())
    logits[4, best] = float(np.nextafter(logits[4, best].numpy(), np.float32(9)))
    assert save_predictions(of(data, logits), path) != sha256


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_truncated_file(data, path, keep):
    save_predictions(of(data), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ReproError, match=r"(damaged|not a predictions file).*Delete it"):
        load_predictions(path)


def test_damage_anywhere_is_refused(data, path):
    save_predictions(of(data), path)
    whole = path.read_bytes()
    for at in range(10, len(whole) - 8, 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 8]) + whole[at + 1 :])
        with pytest.raises(ReproError, match=r"damaged|not a predictions file"):
            load_predictions(path)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "top level"),
        ([["a", 0, [1]]], r"0\.3"),
        ([["a", -1, [1], [0.5]]], r"0\.1"),
        ([["a", 0, [True], [0.5]]], r"0\.2\.0"),
        ([["a", 0, [1, 2], [0.5]]], "classes of image a"),
        ([["a", 0, [1, 1], [0.5, 0.5]]], "classes of image a"),
        ([["a", 0, [1, 2], [0.5, 0.6]]], "classes of image a"),
    ],
)
def test_files_of_another_content(path, document, message):
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    with pytest.raises(ReproError, match=message):
        load_predictions(path)


def test_a_whole_file_of_something_else(data, path):
    sha256 = save_predictions(of(data), path)
    load_predictions(path, sha256)
    save_predictions(of(data, scores(seed=1)), path)
    with pytest.raises(ReproError, match="not the ones recorded"):
        load_predictions(path, sha256)
    with pytest.raises(ReproError, match="cannot be read: it does not exist"):
        load_predictions(path.with_name("other.json.gz"))
