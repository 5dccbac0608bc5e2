"""One split of a COCO-format directory: sizes, targets, augmentation and what is said when something is wrong."""

import json
import random

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as transforms

from repro.data.coco import CocoDetection, compute_resized_size
from repro.errors import ReproError

HEIGHT, WIDTH = 40, 60
SQUARE = [10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]


def an_object(**change):
    return {"category_id": 5, "bbox": [10, 10, 20, 20], "area": 400.0, "iscrowd": 0, "segmentation": [SQUARE], **change}


CROWD = an_object(iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]})


@pytest.fixture
def build(tmp_path):
    """Writes a data set with one image per list of objects; ids are 100, 99, ... in the order of the file."""

    def build(*images, split="train2017"):
        entries, objects = [], []
        (tmp_path / split).mkdir(parents=True)
        for position, found in enumerate(images):
            identity = 100 - position
            name = f"{identity:012}.jpg"
            pixels = np.random.default_rng(identity).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / name)
            entries.append({"id": identity, "file_name": name, "height": HEIGHT, "width": WIDTH})
            objects += [{"id": len(objects) + i + 1, "image_id": identity, **one} for i, one in enumerate(found)]
        document = {"images": entries, "annotations": objects, "categories": [{"id": 5}, {"id": 2}]}
        path = tmp_path / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
        return tmp_path

    return build


def opened(root, split="train2017", short_side=HEIGHT, long_side=WIDTH, flip=0.0, num_classes=2):
    return CocoDetection(root, split, num_classes, short_side, long_side, flip)


# -- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ((375, 500), (800, 1067)),  # Detectron2's and mmdetection's; torchvision: 1066
        ((480, 640), (800, 1067)),
        ((640, 427), (1199, 800)),
        ((640, 480), (1067, 800)),
        ((200, 640), (417, 1333)),  # the long side limits: 416.56
        ((800, 1333), (800, 1333)),
        ((1600, 1200), (1067, 800)),
    ],
)
def test_size_after_resizing(original, expected):
    assert compute_resized_size(*original, short_side=800, long_side=1333) == expected


# -- against torchvision and pycocotools, on real photographs ---------------------------------------------------------


@pytest.mark.rounding
@pytest.mark.parametrize("split", ["train2017", "val2017"])
def test_real_images_and_targets(coco_tiny, split):
    dataset = CocoDetection(coco_tiny, split, 80, 800, 1333)
    official = COCO(dataset.annotations_path)
    assert dataset.image_ids == sorted(official.imgs)
    assert dataset.category_ids == sorted(official.cats)
    for index in range(0, len(dataset), 8):
        sample = dataset.sample(index, train=True)
        entry = official.imgs[sample.image_id]
        size = sample.image.shape[1:]
        photograph = Image.open(coco_tiny / split / entry["file_name"]).convert("RGB")
        expected = transforms.resize(photograph, size, antialias=True)
        torch.testing.assert_close(sample.image, transforms.pil_to_tensor(expected), rtol=0, atol=0)

        assert sample.size == (entry["height"], entry["width"])
        objects = [one for one in official.imgToAnns[sample.image_id] if not one["iscrowd"]]
        assert sample.labels.tolist() == [dataset.category_ids.index(one["category_id"]) for one in objects]
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float64)
        boxes = transforms.convert_bounding_box_format(boxes, old_format="XYWH", new_format="XYXY")
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=sample.size)
        boxes = transforms.clamp_bounding_boxes(transforms.resize(boxes, size))
        torch.testing.assert_close(sample.boxes, boxes.as_subclass(torch.Tensor).float(), rtol=1e-6, atol=1e-4)

        assert sample.masks.shape == (len(objects), *size)
        masks = np.stack([official.annToMask(one) for one in objects])
        masks = np.stack([Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST) for mask in masks])
        # Pillow decides otherwise where a pixel's centre falls on a boundary between two old pixels.
        assert (sample.masks.numpy() != masks).mean() < 1e-4


def test_masks_at_the_original_size(coco_tiny):
    """Without resizing the masks are pycocotools' to the pixel."""
    official = COCO(coco_tiny / "annotations" / "instances_train2017.json")
    dataset = CocoDetection(coco_tiny, "train2017", 80, 480, 640)
    same_size = [i for i, id_ in enumerate(dataset.image_ids) if dataset.get_original_size(id_) == (480, 640)]
    assert same_size
    for index in same_size:
        sample = dataset.sample(index, train=True)
        objects = [one for one in official.imgToAnns[sample.image_id] if not one["iscrowd"]]
        np.testing.assert_array_equal(sample.masks, np.stack([official.annToMask(one) for one in objects]))


@pytest.mark.rounding
def test_flip(coco_tiny):
    plain, flipped = (CocoDetection(coco_tiny, "train2017", 80, 400, 667, flip) for flip in (0.0, 1.0))
    for index in range(4):
        before, after = plain.sample(index, train=True), flipped.sample(index, train=True)
        torch.testing.assert_close(after.image, transforms.horizontal_flip(before.image), rtol=0, atol=0)
        torch.testing.assert_close(after.masks, transforms.horizontal_flip(before.masks), rtol=0, atol=0)
        boxes = tv_tensors.BoundingBoxes(before.boxes, format="XYXY", canvas_size=before.image.shape[1:])
        torch.testing.assert_close(after.boxes, transforms.horizontal_flip(boxes).as_subclass(torch.Tensor))
        assert after.labels.equal(before.labels)
        assert before.image.equal(flipped.sample(index).image), "evaluation never flips"


# -- targets ----------------------------------------------------------------------------------------------------------


def test_types_and_shapes(build):
    root = build([an_object(category_id=2), an_object(bbox=[1, 2, 3, 4])])
    sample = opened(root, short_side=20).sample(0, train=True)
    assert sample.image.dtype == torch.uint8
    assert sample.image.shape == (3, 20, 30)
    assert sample.boxes.dtype == torch.float32
    assert sample.boxes.tolist() == [[5, 5, 15, 15], [0.5, 1, 2, 3]]
    assert sample.labels.dtype == torch.int64
    assert sample.labels.tolist() == [0, 1]
    assert sample.masks.dtype == torch.uint8
    expected = torch.zeros(20, 30, dtype=torch.uint8)
    expected[5:15, 5:15] = 1
    assert sample.masks.equal(expected.expand(2, -1, -1))
    assert all(tensor.is_contiguous() for tensor in (sample.image, sample.boxes, sample.masks))


def test_evaluation_samples_have_no_targets(build):
    sample = opened(build([an_object()])).sample(0)
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == (0,)
    assert sample.masks.shape == (0, HEIGHT, WIDTH)


NO_TARGETS = [
    [],
    [CROWD],
    [an_object(area=0)],
    [an_object(bbox=[10, 10, 0.5, 20])],
    [an_object(bbox=[WIDTH - 0.5, 10, 20, 20])],
    [an_object(bbox=[10, -20, 20, 20])],
    [an_object(segmentation=[[3.0, 3.0, 5.0, 5.0]])],
]


def test_training_leaves_out_images_without_targets(build):
    dataset = opened(build([an_object()], *NO_TARGETS, [an_object(), CROWD]))
    assert dataset.image_ids == [92, 100]
    assert len(dataset.sample(0, train=True).labels) == 1, "a crowd is no target"


def test_evaluation_keeps_all_images(build):
    dataset = opened(build([an_object()], *NO_TARGETS, split="val2017"), split="val2017")
    assert dataset.image_ids == list(range(93, 101))
    assert len(dataset.build_ground_truth()["annotations"]) == 7


def test_boxes_are_clipped_to_the_image(build):
    sample = opened(build([an_object(bbox=[-3, 5, 100, 50])])).sample(0, train=True)
    assert sample.boxes.tolist() == [[0, 5, WIDTH, HEIGHT]]


def test_run_lengths_that_are_no_crowd_are_targets(build):
    counts = [HEIGHT * 5, HEIGHT * 10, HEIGHT * (WIDTH - 15)]
    root = build([an_object(segmentation={"size": [HEIGHT, WIDTH], "counts": counts})])
    expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    expected[:, 5:15] = 1
    assert opened(root).sample(0, train=True).masks[0].equal(expected)


def test_grayscale_images_become_rgb(build):
    root = build([an_object()])
    path = root / "train2017" / "000000000100.jpg"
    Image.open(path).convert("L").save(path)
    image = opened(root).sample(0).image
    assert image.shape == (3, HEIGHT, WIDTH)
    assert image[0].equal(image[1])


# -- randomness -------------------------------------------------------------------------------------------------------


def _flips(dataset, plain, seed, epoch, order):
    same = {i: dataset.sample(i, seed=seed, epoch=epoch, train=True).image.equal(plain[i]) for i in order}
    return [not same[i] for i in sorted(same)]


def test_augmentation_depends_on_seed_epoch_and_index_alone(build):
    root = build(*[[an_object()]] * 64)
    plain = [opened(root).sample(i).image for i in range(64)]
    dataset = opened(root, flip=0.5)
    first = _flips(dataset, plain, 0, 0, range(64))
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert _flips(opened(root, flip=0.5), plain, 0, 0, reversed(range(64))) == first
    assert torch.get_rng_state().equal(state)
    others = [_flips(dataset, plain, seed, epoch, range(64)) for seed, epoch in ((0, 1), (1, 0), (1, 1))]
    assert len({tuple(flips) for flips in [first, *others]}) == 4
    # 256 fair coins: six standard deviations.
    assert 80 <= sum(map(sum, [first, *others])) <= 176


# -- what is wrong ----------------------------------------------------------------------------------------------------


def test_no_annotations(tmp_path):
    with pytest.raises(ReproError) as raised:
        opened(tmp_path / "coco", split="val2017")
    message = str(raised.value)
    assert str(tmp_path / "coco" / "annotations" / "instances_val2017.json") in message
    assert "http://images.cocodataset.org/annotations/annotations_trainval2017.zip (253 MB)" in message
    assert "http://images.cocodataset.org/zips/val2017.zip (816 MB)" in message


def test_no_image_directory(build):
    root = build()
    (root / "train2017").rmdir()
    with pytest.raises(ReproError, match=r"train2017\.zip is there.*zips/train2017\.zip \(19\.3 GB\)"):
        opened(root)


def test_missing_images_are_found_before_the_work(build):
    root = build(*[[an_object()]] * 5)
    for identity in (96, 97, 99, 100):
        (root / "train2017" / f"{identity:012}.jpg").unlink()
    with pytest.raises(ReproError, match=r"4 of 5 images .* are missing .*000000000096\.jpg \(id 96\).*, \.\.\."):
        opened(root)


def test_an_image_that_goes_missing(build):
    root = build([an_object()])
    dataset = opened(root)
    path = root / "train2017" / "000000000100.jpg"
    path.unlink()
    with pytest.raises(ReproError, match=f"image 100: {path} cannot be read: it does not exist"):
        dataset.sample(0)


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.9])
def test_a_truncated_jpeg(coco_tiny, tmp_path, keep):
    identity = 32773
    document = json.loads((coco_tiny / "annotations" / "instances_train2017.json").read_text())
    document["images"] = [entry for entry in document["images"] if entry["id"] == identity]
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] == identity]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(document))
    content = (coco_tiny / "train2017" / "000000032773.jpg").read_bytes()
    path = tmp_path / "train2017" / "000000032773.jpg"
    path.parent.mkdir()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(ReproError, match=f"image {identity}: {path} is corrupt: "):
        CocoDetection(tmp_path, "train2017", 80, 800, 1333).sample(0)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\xff\xd8\xff"])
def test_a_file_that_is_no_image(build, content):
    root = build([an_object()])
    path = root / "train2017" / "000000000100.jpg"
    path.write_bytes(content)
    with pytest.raises(ReproError, match=f"image 100: {path} is corrupt"):
        opened(root).sample(0)


def test_an_image_of_another_size(build):
    root = build([an_object()])
    path = root / "train2017" / "000000000100.jpg"
    Image.open(path).resize((WIDTH // 2, HEIGHT // 2)).save(path)
    with pytest.raises(ReproError, match=r"image 100 has \(30, 20\) pixels .*\(60, 40\)"):
        opened(root).sample(0)


@pytest.mark.parametrize(("orientation", "turn"), [(3, Image.Transpose.ROTATE_180), (6, Image.Transpose.ROTATE_270)])
def test_images_are_turned_as_their_exif_data_say(build, orientation, turn):
    """Stored as a camera that was held otherwise does, annotated as they are shown."""
    root = build([an_object()])
    path = root / "train2017" / "000000000100.jpg"
    shown = opened(root).sample(0).image.permute(1, 2, 0).numpy()
    back = {
        Image.Transpose.ROTATE_180: Image.Transpose.ROTATE_180,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(shown).transpose(back[turn]).save(path, "PNG", exif=exif)
    np.testing.assert_array_equal(opened(root).sample(0).image.permute(1, 2, 0).numpy(), shown)


def test_an_image_annotated_as_it_is_stored(build):
    root = build([an_object()])
    path = root / "train2017" / "000000000100.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)
    with pytest.raises(ReproError, match=r"image 100 has \(40, 60\) pixels .*\(60, 40\): .* its EXIF data turn it"):
        opened(root).sample(0)


def test_a_very_narrow_image(build):
    assert compute_resized_size(1, 60000, 800, 1333) == (1, 1333)
    assert compute_resized_size(60000, 1, 800, 1333) == (1333, 1)


def test_another_number_of_categories(build):
    with pytest.raises(ReproError, match="has 2 categories, the detector has 80 classes"):
        opened(build([an_object()]), num_classes=80)
