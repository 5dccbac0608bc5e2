"""Top-1 and top-5 over views, and the file of the views' scores; a 3-D network over encoded videos, end to end."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import video_files as files

from repro.data.clips import collate, normalise
from repro.data.kinetics import Kinetics
from repro.data.video import UnreadableVideo
from repro.errors import ReproError
from repro.evaluation import MULTIVIEW_EVALUATOR
from repro.evaluation.multiview import Scores, compute_scores, evaluate, load_scores, save_scores
from repro.experiments import Backbone
from repro.experiments.preprocessing import Preprocessing
from repro.models.resnet import ResNet

pytestmark = pytest.mark.rounding


class Listed:
    """20 videos of 10 classes, as far as an evaluation looks at them."""

    place = "/data/val"
    ids = [f"v{i:02d}" for i in range(20)]
    labels = np.random.default_rng(5).integers(10, size=20)

    def __len__(self):
        return 20


@pytest.fixture
def data():
    return Listed()


def found_for(data, views=6, classes=10, seed=0):
    logits = torch.randn(len(data.ids), views, classes, generator=torch.Generator().manual_seed(seed))
    return compute_scores(logits, data.labels, data.ids)


# -- accuracy ---------------------------------------------------------------------------------------------------------


def test_scores_are_softmax_in_float16():
    logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]]])
    (one,) = compute_scores(logits, [1], ["a"])
    assert one.views.dtype == np.float16
    assert one.views.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert one.mean.tolist() == [0.375, 0.625]


def test_accuracy_is_that_of_the_stored_views(data):
    found = found_for(data)
    hits = {1: 0, 5: 0}
    for one, label in zip(found, data.labels, strict=True):
        total = [sum(float(view[k]) for view in one.views) for k in range(10)]  # exact in float64
        order = sorted(range(10), key=lambda k: (-total[k], k))
        for k in hits:
            hits[k] += label in order[:k]
    assert evaluate(found, data) == {"top1": 5.0 * hits[1], "top5": 5.0 * hits[5]}
    assert 0 < hits[1] < hits[5] < 20


def test_ties_go_to_the_lower_class():
    views = np.array([[0.25, 0.25, 0.25, 0.125, 0.125]], np.float16)
    ranks = [next(k for k in range(1, 6) if Scores("a", label, views).is_correct(k)) for label in range(5)]
    assert ranks == [1, 2, 3, 4, 5]


def test_the_mean_is_not_rounded_to_float16():
    """In float16 the sums of the two classes would be equal."""
    views = np.full((30, 2), 0.5, np.float16)
    views[0] = 0.5 - 2**-12, 0.5 + 2**-12 + 2**-11
    assert np.float16(views[:, 0].sum(dtype=np.float64)) == np.float16(views[:, 1].sum(dtype=np.float64))
    assert Scores("a", 1, views).is_correct(1)


def test_the_views_are_averaged_after_the_softmax():
    """One view is sure of class 0, two lean to class 1: of logits the mean would be class 0."""
    (one,) = compute_scores(torch.tensor([[[20.0, 0.0], [0.0, 1.0], [0.0, 1.0]]]), [0], ["a"])
    assert one.is_correct(1) == (1 + 2 / (1 + math.e) > 2 * math.e / (1 + math.e))
    (one,) = compute_scores(torch.tensor([[[20.0, 0.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]]]), [1], ["a"])
    assert one.is_correct(1)


def test_videos_that_failed_are_left_out(data):
    found = found_for(data)
    whole = evaluate(found, data)
    left = evaluate(found[2:], data, failed=["v00", "v01"])
    right = sum(one.is_correct(1) for one in found[2:])
    assert left["top1"] == pytest.approx(100 * right / 18)
    assert 100 * right / 20 <= whole["top1"] <= 100 * (right + 2) / 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found[1:], r"1 missing \(v00\)"),
        (lambda found: [*found, found[3]], r"1 there more than once \(v03\)"),
        (
            lambda found: [replace(found[0], video_id="x"), *found[1:]],
            r"1 missing \(v00\); 1 not in the data set \(x\)",
        ),
        (lambda found: [replace(found[0], label=found[0].label ^ 1), *found[1:]], "video v00 were made for class"),
    ],
)
def test_scores_of_other_videos_are_refused(data, change, message):
    with pytest.raises(ReproError, match=message):
        evaluate(change(found_for(data)), data)


def test_nothing_could_be_read(data):
    with pytest.raises(ReproError, match="none of the 20 videos"):
        evaluate([], data, failed=data.ids)


def test_a_logit_that_is_not_finite():
    logits = torch.zeros(3, 2, 4)
    logits[1, 0, 2] = math.inf
    with pytest.raises(ReproError, match="video b is not finite"):
        compute_scores(logits, [0, 1, 2], ["a", "b", "c"])


def test_the_evaluator_has_a_name():
    assert MULTIVIEW_EVALUATOR == "repro multi-view 1"


# -- file -------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(tmp_path, data):
    found = found_for(data)
    sha256 = save_scores(found, tmp_path / "a.scores.gz")
    packed = (tmp_path / "a.scores.gz").read_bytes()
    assert sha256 == hashlib.sha256(gzip.decompress(packed)).hexdigest()
    assert load_scores(tmp_path / "a.scores.gz", hashlib.sha256(packed).hexdigest())  # as earlier versions recorded it
    loaded = load_scores(tmp_path / "a.scores.gz", sha256)
    assert [(one.video_id, one.label) for one in loaded] == [(one.video_id, one.label) for one in found]
    for one, other in zip(found, loaded, strict=True):
        assert other.views.dtype == np.float16
        np.testing.assert_array_equal(one.views, other.views)
    assert evaluate(loaded, data) == evaluate(found, data)


def test_equal_scores_give_equal_bytes_whatever_their_order(tmp_path, data):
    found = found_for(data)
    first = save_scores(found, tmp_path / "a.scores.gz")
    assert save_scores(found[::-1], tmp_path / "b.scores.gz") == first
    assert save_scores(load_scores(tmp_path / "a.scores.gz"), tmp_path / "c.scores.gz") == first
    assert save_scores(found_for(data, seed=1), tmp_path / "d.scores.gz") != first


def test_the_whole_is_the_chunks_together(tmp_path, data):
    found = found_for(data)
    whole = save_scores(found, tmp_path / "whole.scores.gz")
    for name, part in (("a", found[:7]), ("b", found[7:])):
        save_scores(part, tmp_path / f"{name}.scores.gz")
    both = [one for name in "ab" for one in load_scores(tmp_path / f"{name}.scores.gz")]
    assert save_scores(both, tmp_path / "both.scores.gz") == whole


def test_no_scores(tmp_path):
    save_scores([], tmp_path / "none.scores.gz")
    assert load_scores(tmp_path / "none.scores.gz") == []


def test_scores_of_different_shapes(tmp_path, data):
    with pytest.raises(ReproError, match=r"\(6, 10\), \(9, 10\)"):
        save_scores([found_for(data)[0], found_for(data, views=9)[1]], tmp_path / "a.scores.gz")


def test_another_file_is_refused(tmp_path, data):
    path = tmp_path / "a.scores.gz"
    with pytest.raises(ReproError, match="cannot be read: it does not exist"):
        load_scores(path)
    sha256 = save_scores(found_for(data), path)
    save_scores(found_for(data, seed=1), path)
    with pytest.raises(ReproError, match=f"not the ones recorded: the sha256 is not {sha256}"):
        load_scores(path, sha256)


def packed(header, values):
    return gzip.compress(json.dumps(header).encode() + b"\n" + values, mtime=0)


HEADER = {"views": 2, "classes": 3, "videos": [["a", 0]]}
VALUES = np.full(6, 0.5, "<f2").tobytes()


def test_the_format_is_plain(tmp_path):
    """JSON and little-endian float16: other programs can read it, and write it."""
    path = tmp_path / "a.scores.gz"
    path.write_bytes(packed(HEADER, VALUES))
    (one,) = load_scores(path)
    assert one.views.tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a file of scores|damaged"),
        (b"scores", "damaged"),
        (packed(HEADER, VALUES)[:-9], "damaged"),
        (gzip.compress(b"scores", mtime=0), "first line"),
        (packed({**HEADER, "videos": [["a", 3]]}, VALUES), "class 3 of 3"),
        (packed({**HEADER, "videos": [["a", -1]]}, VALUES), r"videos\.0\.1"),
        (packed({**HEADER, "views": "2"}, VALUES), "views"),
        (packed({**HEADER, "more": 2}, VALUES), "more"),
        (packed(HEADER, VALUES[:-2]), r"10 bytes are not float16 \(1, 2, 3\)"),
        (packed(HEADER, VALUES + b"\0\0"), "14 bytes"),
        (packed(HEADER, np.full(6, np.nan, "<f2").tobytes()), "between 0 and 1"),
        (packed(HEADER, np.full(6, 1.5, "<f2").tobytes()), "between 0 and 1"),
        (packed(HEADER, np.full(6, -0.5, "<f2").tobytes()), "between 0 and 1"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, content, message):
    path = tmp_path / "a.scores.gz"
    path.write_bytes(content)
    with pytest.raises(ReproError, match=message):
        load_scores(path)


def test_any_changed_byte_is_noticed(tmp_path, data):
    path = tmp_path / "a.scores.gz"
    save_scores(found_for(data), path)
    content = path.read_bytes()
    for position in np.random.default_rng(0).integers(10, len(content), size=60):  # after gzip's own header
        changed = bytearray(content)
        changed[position] ^= 0x55
        path.write_bytes(changed)
        with pytest.raises(ReproError):
            load_scores(path)


# -- end to end -------------------------------------------------------------------------------------------------------

INPUTS = Preprocessing(
    resize=32, crop=32, crops=3, resizer="torch", class_order="label", frames=4, stride=2, clips=3, clip_starts="ends"
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinetics")
    for number, name in enumerate(("waving", "jumping", "waving", "clapping", "jumping")):
        files.write(root / "val" / name / f"{name}{number}.mp4", frames=10 + 7 * number, size=(56, 40))
    (root / "val" / "clapping" / "clapping3.mp4").write_bytes(b"")
    return Kinetics(root, "val", preprocessing=INPUTS, labels=("clapping", "jumping", "waving"))


def test_a_network_over_videos(videos, tmp_path):
    """Scores of batches of videos are those of each view on its own; what cannot be read is named."""
    torch.manual_seed(0)
    network = ResNet(Backbone(dimensions=3, width=8, blocks=(1, 1, 1, 1)), num_classes=3).eval()
    samples, failed = [], []
    for index in range(len(videos)):
        try:
            samples.append(videos.sample(index))
        except UnreadableVideo as error:
            failed.append(error.video_id)
    assert failed == ["clapping3"]
    found = []
    with torch.inference_mode():
        for start in (0, 2):
            batch = collate(samples[start : start + 2])
            inputs = normalise(batch.clips, INPUTS)
            logits = network(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
            found += compute_scores(logits, batch.labels.tolist(), batch.video_ids)
        for sample, one in zip(samples, found, strict=True):
            alone = [network(normalise(view, INPUTS)[None]).softmax(dim=1)[0] for view in sample.clips]
            np.testing.assert_allclose(one.views, torch.stack(alone).numpy(), atol=1e-3)
    assert found[0].views.shape == (9, 3)

    path = tmp_path / "views.scores.gz"
    save_scores(found, path)
    metrics = evaluate(load_scores(path), videos, failed)
    right = sum(int(np.mean(one.views.astype(float), axis=0).argmax()) == one.label for one in found)
    assert metrics == {"top1": 100 * right / 4, "top5": 100.0}
    one_clip = evaluate([replace(one, views=one.views[3:6]) for one in load_scores(path)], videos, failed)
    assert set(one_clip) == {"top1", "top5"}
