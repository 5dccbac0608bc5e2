"""Per-image matches against the evaluator that they come from, and the file that they are kept in."""

import json
import zipfile

import numpy as np
import pycocotools.mask as pycoco_mask
import pytest
from PIL import Image

from repro.data.coco import CocoDetection, Detections
from repro.errors import ReproError
from repro.evaluation.coco import evaluate
from repro.evaluation.matches import KINDS, load_matches, match, save_matches
from repro.statistics.bootstrap import draw_resamples
from repro.statistics.precision import METRICS, compute_average_precision

pytestmark = pytest.mark.rounding

HEIGHT, WIDTH = 48, 64
CATEGORIES = (2, 5, 9, 14)  # of the last there is no object


def rectangle(box, size=(HEIGHT, WIDTH)):
    x1, y1, x2, y2 = (round(float(side)) for side in box)
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[y1:y2, x1:x2] = 1
    return pycoco_mask.encode(mask)


def build(root, objects):
    """A val2017 of blank images: {image id: [(category id, box, is crowd)]}."""
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    entries, annotations = [], []
    for image_id, some in objects.items():
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "val2017" / f"{image_id}.jpg")
        entries.append({"id": image_id, "file_name": f"{image_id}.jpg", "height": HEIGHT, "width": WIDTH})
        for category_id, (x1, y1, x2, y2), crowd in some:
            segmentation = [[float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]
            if crowd:
                mask = pycoco_mask.decode(rectangle((x1, y1, x2, y2))).ravel(order="F")
                edges = np.flatnonzero(np.diff(mask, prepend=0)).tolist()
                segmentation = {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, mask.size]).tolist()}
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id, "category_id": category_id,
                    "iscrowd": int(crowd),
                    "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
                    "area": float((x2 - x1) * (y2 - y1)), "segmentation": segmentation,
                }
            )  # fmt: skip
    categories = [{"id": i, "name": str(i)} for i in CATEGORIES]
    content = {"images": entries, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return CocoDetection(root, "val2017", len(CATEGORIES), HEIGHT, WIDTH)


def generated(images, generator, crowds=0.15):
    """Objects for `build`: some images have none, some objects lie on one another."""
    objects = {}
    for image_id in range(1, images + 1):
        objects[image_id] = []
        for _ in range(generator.integers(5)):
            x1, y1 = generator.integers(0, (WIDTH - 20, HEIGHT - 20))
            w, h = generator.integers(6, 20, 2)
            category = int(generator.choice(CATEGORIES[:3], p=[0.6, 0.3, 0.1]))
            crowd = bool(generator.random() < crowds)
            objects[image_id].append((category, (int(x1), int(y1), int(x1 + w), int(y1 + h)), crowd))
    return objects


def detected(objects, generator, quality=0.1, ties=False):
    """Objects found beside their place, once or several times, among false detections."""
    found, seen = [], 0
    for image_id, some in objects.items():
        boxes, labels = [], []
        for category, (x1, y1, x2, y2), _ in some:
            for _ in range(generator.choice(4, p=[0.15, 0.5, 0.2, 0.15])):
                noise = generator.normal(0, quality, 4) * ([x2 - x1, y2 - y1] * 2)
                boxes.append(np.array([x1, y1, x2, y2]) + noise)
                labels.append(CATEGORIES.index(category) if generator.random() < 0.9 else generator.integers(4))
        for _ in range(generator.integers(6)):
            boxes.append(generator.random(4) * ([WIDTH, HEIGHT] * 2))
            labels.append(generator.integers(4))
        boxes = np.array(boxes).reshape(-1, 4)
        boxes = np.clip(boxes, 0, [WIDTH, HEIGHT] * 2)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        scores = generator.random(len(boxes)).astype(np.float32)
        scores = scores.round(1) if ties else scores + 0
        found.append(
            Detections(
                image_id, boxes.astype(np.float32), scores, np.array(labels, dtype=np.int64),
                [rectangle(box) for box in boxes],
            )
        )  # fmt: skip
        seen += len(boxes)
    assert ties or len(np.unique(np.concatenate([one.scores for one in found]))) > 0.99 * seen
    return found


def from_matches(matches, counts):
    """The six metrics as `evaluate` names them."""
    return {
        f"{name}_{kind}": value
        for kind in KINDS
        for name, value in zip(METRICS, compute_average_precision(matches, kind, counts)[:, 0], strict=True)
    }


def whole(matches):
    return np.ones((len(matches.image_ids), 1), dtype=int)


# -- equality with the evaluator --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True], ids=["scores differ", "equal scores"])
def test_all_images_give_the_evaluators_ap(tmp_path, seed, ties):
    generator = np.random.default_rng(seed)
    objects = generated(30, generator)
    dataset = build(tmp_path, objects)
    detections = detected(objects, generator, ties=ties)
    matches = match(detections, dataset, "f" * 64)
    assert all(matches.ignored[kind].any() for kind in KINDS)  # crowds have been met
    expected = evaluate(detections, dataset)
    assert 1 < expected["ap_mask"] < 99
    assert from_matches(matches, whole(matches)) == pytest.approx(expected, rel=0, abs=1e-9)


def test_more_than_a_hundred_detections_of_a_class_in_an_image(tmp_path):
    generator = np.random.default_rng(0)
    box = (5, 5, 25, 25)
    dataset = build(tmp_path, {1: [(2, box, False), (2, (30, 20, 50, 40), False)], 2: [(2, box, False)]})
    many = np.clip(np.array(box) + generator.normal(0, 3, (150, 4)), 0, HEIGHT).astype(np.float32)
    scores = np.linspace(0.9, 0.1, 150, dtype=np.float32)
    many[120] = (30, 20, 50, 40)  # too late to count
    labels = np.zeros(150, dtype=np.int64)
    detections = [
        Detections(1, many, scores, labels, [rectangle(one) for one in many]),
        Detections(2, many[:1], scores[:1], labels[:1], [rectangle(many[0])]),
    ]
    matches = match(detections, dataset, "f" * 64)
    assert len(matches.scores) == 101
    assert from_matches(matches, whole(matches)) == pytest.approx(evaluate(detections, dataset), rel=0, abs=1e-9)


def test_of_two_objects_overlapped_alike_the_last_is_taken(tmp_path):
    objects = [(10, 10, 30, 30), (14, 10, 34, 30)]
    dataset = build(tmp_path, {1: [(2, box, False) for box in objects]})
    boxes = np.array([(12, 10, 32, 30), objects[0]], dtype=np.float32)
    masks = [rectangle(box) for box in boxes]
    detections = [Detections(1, boxes, np.array([0.9, 0.8], dtype=np.float32), np.zeros(2, dtype=np.int64), masks)]
    matches = match(detections, dataset, "f" * 64)
    assert [bin(bits).count("1") for bits in matches.true["box"]] == [7, 10]  # IoU 9/11 and 1
    assert from_matches(matches, whole(matches)) == pytest.approx(evaluate(detections, dataset), rel=0, abs=1e-9)


def test_no_detection_at_all(tmp_path):
    dataset = build(tmp_path, {1: [(2, (5, 5, 25, 25), False)], 2: []})
    nothing = [Detections(i, np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), []) for i in (1, 2)]
    matches = match(nothing, dataset, "f" * 64)
    assert from_matches(matches, whole(matches)) == dict.fromkeys(evaluate(nothing, dataset), 0.0)


def test_real_annotations(coco_tiny):
    dataset = CocoDetection(coco_tiny, "val2017", 80, 800, 1333)
    truth = {image_id: [] for image_id in dataset.image_ids}
    for one in dataset.build_ground_truth()["annotations"]:
        truth[one["image_id"]].append(one)
    generator = np.random.default_rng(0)
    detections = []
    for image_id, objects in truth.items():
        found = [one for one in objects if generator.random() < 0.8]
        boxes = np.array([one["bbox"] for one in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes += generator.normal(0, 0.05, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        labels = [dataset.category_ids.index(one["category_id"]) for one in found]
        labels = np.where(generator.random(len(found)) < 0.9, labels, generator.integers(80, size=len(found)))
        masks = [
            rectangle(
                np.clip(box, 0, np.tile(dataset.get_original_size(image_id)[::-1], 2)),
                dataset.get_original_size(image_id),
            )
            if one["iscrowd"]  # run lengths that are not compressed
            else pycoco_mask.encode(
                np.roll(pycoco_mask.decode(one["segmentation"]), generator.integers(-6, 7, 2), axis=(0, 1))
            )
            for one, box in zip(found, boxes, strict=True)
        ]
        scores = generator.random(len(found)).astype(np.float32)
        detections.append(Detections(image_id, boxes.astype(np.float32), scores, labels.astype(np.int64), masks))
    matches = match(detections, dataset, "f" * 64)
    expected = evaluate(detections, dataset)
    assert all(5 < value < 95 for value in expected.values())
    assert from_matches(matches, whole(matches)) == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_resample_is_the_data_set_with_copies_of_its_images(tmp_path, seed):
    generator = np.random.default_rng(seed)
    objects = generated(20, generator)
    detections = detected(objects, generator)
    matches = match(detections, build(tmp_path / "original", objects), "f" * 64)
    counts = draw_resamples(20, 3, generator)
    assert counts.sum(axis=0).tolist() == [20] * 3
    assert counts.max() > 1
    assert counts.min() == 0
    for r in range(3):
        originals = np.repeat(np.arange(20), counts[:, r])  # copies of an image follow each other
        copies = {number: objects[original + 1] for number, original in enumerate(originals, start=1)}
        found = [
            Detections(
                number, *(getattr(detections[original], name) for name in ("boxes", "scores", "labels", "masks"))
            )
            for number, original in enumerate(originals, start=1)
        ]
        expected = evaluate(found, build(tmp_path / str(r), copies))
        assert from_matches(matches, counts[:, r : r + 1]) == pytest.approx(expected, rel=0, abs=1e-9)


def test_many_samples_at_once_are_what_each_gives_alone(tmp_path):
    generator = np.random.default_rng(3)
    objects = generated(20, generator)
    matches = match(detected(objects, generator), build(tmp_path, objects), "f" * 64)
    counts = draw_resamples(20, 600, generator)  # more than a block
    together = compute_average_precision(matches, "mask", counts, threads=2)
    assert together.shape == (3, 600)
    assert np.array_equal(together, compute_average_precision(matches, "mask", counts))
    for r in (0, 249, 250, 599):
        alone = compute_average_precision(matches, "mask", counts[:, [r]])[:, 0]
        assert alone.tolist() == pytest.approx(together[:, r].tolist(), rel=0, abs=1e-9)


def test_a_sample_without_objects_has_no_ap(tmp_path):
    objects = {1: [(2, (5, 5, 25, 25), False)], 2: []}
    generator = np.random.default_rng(0)
    matches = match(detected(objects, generator, ties=True), build(tmp_path, objects), "f" * 64)
    values = compute_average_precision(matches, "box", np.array([[0, 1], [2, 1]]))
    assert np.isnan(values[:, 0]).all()
    assert np.isfinite(values[:, 1]).all()


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def matches(tmp_path):
    generator = np.random.default_rng(0)
    objects = generated(10, generator)
    return match(detected(objects, generator), build(tmp_path / "data", objects), "f" * 64)


def test_equal_matches_give_equal_bytes_and_come_back(matches, tmp_path, monkeypatch):
    first = save_matches(matches, tmp_path / "a.npz")
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert save_matches(matches, tmp_path / "b.npz") == first
    read = load_matches(tmp_path / "a.npz")
    assert save_matches(read, tmp_path / "c.npz") == first
    assert (read.predictions_sha256, read.annotations_sha256) == ("f" * 64, matches.annotations_sha256)
    for kind in KINDS:
        assert np.array_equal(read.true[kind], matches.true[kind])
    assert from_matches(read, whole(read)) == from_matches(matches, whole(matches))


def test_the_order_of_the_predictions_does_not_matter(tmp_path):
    generator = np.random.default_rng(0)
    objects = generated(10, generator)
    dataset, detections = build(tmp_path / "data", objects), detected(objects, generator, ties=True)
    forth = save_matches(match(detections, dataset, "f" * 64), tmp_path / "a.npz")
    assert save_matches(match(detections[::-1], dataset, "f" * 64), tmp_path / "b.npz") == forth


def test_a_file_cut_short_or_changed_is_named(matches, tmp_path):
    path = tmp_path / "matches.npz"
    save_matches(matches, path)
    content = path.read_bytes()
    for broken in (b"", content[:100], content[: len(content) // 2], b"not a zip", content[:-1]):
        path.write_bytes(broken)
        with pytest.raises(ReproError, match=r"matches\.npz"):
            load_matches(path)
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(ReproError, match=r"matches\.npz"):
        load_matches(path)
    with pytest.raises(ReproError, match="it does not exist"):
        load_matches(tmp_path / "absent.npz")


def rewritten(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed(path, allow_pickle=True, **(arrays | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": np.array(2)},
        {"scores": np.zeros(3, dtype=np.float32)},
        {"images": np.array([{}], dtype=object)},
    ],
    ids=["version", "lengths", "pickled"],
)
def test_a_file_of_something_else_is_refused(matches, tmp_path, changes):
    path = tmp_path / "matches.npz"
    save_matches(matches, path)
    rewritten(path, **changes)
    assert zipfile.is_zipfile(path)
    with pytest.raises(ReproError, match=r"matches\.npz.*Delete it"):
        load_matches(path)
