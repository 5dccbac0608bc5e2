"""Images that a GPU decodes, as far as it can be seen without one: a processor's decoder takes nvJPEG's place."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from repro.cli import app
from repro.data import gpu_decoding, picture_containers, pictures
from repro.data.classification import Augmentation, collate, cut_square, draw_augmentation
from repro.data.gpu_decoding import EncodedImages, collate_encoded, compare_with_processor
from repro.data.imagenet import ImageNet
from repro.data.pictures import UnreadableImage
from repro.errors import ReproError
from repro.experiments import get
from repro.planning.arithmetic import check_arithmetic
from repro.planning.keys import training_key
from repro.planning.work_order import refuse_options_without_effect
from repro.settings import Settings

WNIDS = ("n01440764", "n01443537")
CPU = torch.device("cpu")
COLOURED = Augmentation(size=24, shift=20, rotation=10.0)


def write(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def draw(height: int, width: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


FILES = {
    "a": write(draw(60, 80, 1)),
    "b": write(draw(90, 40, 2), quality=60, progressive=True),
    "c": write(draw(50, 50, 3).convert("L")),
    "d": write(draw(64, 48, 4).convert("CMYK")),
    "e": write(draw(40, 72, 5), "PNG"),
    "f": write(draw(56, 56, 6)) + bytes(20),
}


@pytest.fixture
def root(tmp_path):
    for number, (name, content) in enumerate(FILES.items()):
        path = tmp_path / "train" / WNIDS[number % 2] / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


def open_both(root, augmentation: Augmentation = COLOURED) -> tuple[ImageNet, EncodedImages]:
    usual = ImageNet(root, "train", augmentation=augmentation, wnids=WNIDS)
    return usual, EncodedImages(usual)


@pytest.mark.parametrize("augmentation", [Augmentation(size=24), COLOURED], ids=["factors", "pixels"])
def test_a_batch_is_the_usual_one_to_the_bit(root, augmentation):
    usual, encoded = open_both(root, augmentation)
    for epoch in range(5):
        one = collate([usual.sample(i, seed=3, epoch=epoch, train=True) for i in range(len(usual))])
        batch = collate_encoded([encoded.sample(i, seed=3, epoch=epoch) for i in range(len(encoded))])
        other = pickle.loads(pickle.dumps(batch)).to(CPU)  # as one that another process read
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.colors, other.colors)
        assert torch.equal(one.labels, other.labels)
        assert one.image_ids == other.image_ids


def test_only_plain_files_are_left_to_a_gpu(root):
    encoded = open_both(root)[1]
    samples = {one.image_id: one for one in (encoded.sample(i) for i in range(len(encoded)))}
    assert {name for name, one in samples.items() if one.shape is None} == {"a", "b", "c", "f"}
    assert {one.shape for one in samples.values()} == {None, (64, 48), (40, 72)}
    assert [pictures.measure_plain_jpeg(FILES[name]) for name in "abf"] == [(60, 80), (90, 40), (56, 56)]


def test_a_file_that_ends_too_early_is_the_processors(root):
    (root / "train" / WNIDS[0] / "a.JPEG").write_bytes(FILES["a"][:-30])
    encoded = open_both(root)[1]
    with pytest.raises(UnreadableImage, match=r"a\.JPEG is corrupt"):
        encoded.sample(encoded.images.ids.index("a"))


def test_files_that_would_take_too_long_are_the_processors(monkeypatch):
    assert pictures.measure_plain_jpeg(FILES["b"])
    monkeypatch.setattr(picture_containers, "_MOST_SCANS", 2)
    assert pictures.measure_plain_jpeg(FILES["b"]) is None
    monkeypatch.setattr(pictures, "MOST_PIXELS", 60 * 80 - 1)
    assert pictures.measure_plain_jpeg(FILES["a"]) is None


def refuse(*kinds: bytes):
    """A decoder that cannot read these files, nor any batch with one of them."""
    decode = gpu_decoding.decode_files

    def decode_others(files, device):
        if any(file.numpy().tobytes() in kinds for file in files):
            raise RuntimeError("Unknown NVJPEG chroma subsampling")
        return decode(files, device)

    return decode_others


def test_what_nvjpeg_does_not_read_is_the_processors(root, monkeypatch):
    usual, encoded = open_both(root)
    batch = collate_encoded([encoded.sample(i) for i in range(len(encoded))])
    monkeypatch.setattr(gpu_decoding, "decode_files", refuse(FILES["b"]))
    assert batch.to(CPU).images.equal(collate([usual.sample(i, train=True) for i in range(len(usual))]).images)


def test_what_only_a_decoder_notices_is_named(root):
    start = FILES["b"].index(b"\xff\xc4") + 5  # of a Huffman table, how many codes there are of each length
    broken = FILES["b"][:start] + bytes([255] * 16) + FILES["b"][start + 16 :]
    encoded = open_both(root)[1]
    samples = [encoded.sample(i) for i in range(len(encoded))]
    samples[1].file = broken
    with pytest.raises(UnreadableImage, match="image b is corrupt"):
        collate_encoded(samples).to(CPU)
    (root / "train" / WNIDS[1] / "b.JPEG").write_bytes(broken)
    with pytest.raises(UnreadableImage, match=r"b\.JPEG is corrupt"):
        compare_with_processor(encoded, CPU)


def test_a_device_that_decodes_nothing_is_refused(root, monkeypatch):
    """As where torchvision was built without nvJPEG: the processor would decode all, one after the other."""
    encoded = open_both(root)[1]
    monkeypatch.setattr(gpu_decoding, "decode_files", refuse(*(FILES[name] for name in "abc")))
    assert "6 of them differ" in compare_with_processor(encoded, CPU)  # one of them is decoded
    monkeypatch.setattr(gpu_decoding, "decode_files", refuse(*FILES.values()))
    with pytest.raises(
        ReproError, match=r"cpu decodes none: Unknown NVJPEG chroma subsampling\. Leave out --decode-on"
    ):
        compare_with_processor(encoded, CPU)
    for name in "abcf":
        (root / "train" / WNIDS["abcdef".index(name) % 2] / f"{name}.JPEG").unlink()
    with pytest.raises(ReproError, match="there is none that a GPU could decode"):
        compare_with_processor(open_both(root)[1], CPU)


def test_too_little_memory_is_no_damage(root, monkeypatch):
    def decode(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu_decoding, "decode_files", decode)
    encoded = open_both(root)[1]
    with pytest.raises(torch.OutOfMemoryError):
        collate_encoded([encoded.sample(0)]).to(CPU)


def test_images_are_compared_before_a_training(root, monkeypatch):
    encoded = open_both(root, Augmentation(size=24))[1]
    assert compare_with_processor(encoded, CPU) == (
        "6 of them differ from the processor's by 0.000 of 255 on average, 0 at most"
    )
    decode = gpu_decoding.decode_files

    def change(wanted, by):
        def changed(files, device):
            images = decode(files, device)
            return [
                (image.int() + by).clamp(0, 255).byte() if file.numpy().tobytes() == wanted else image
                for file, image in zip(files, images, strict=True)
            ]

        return changed

    monkeypatch.setattr(gpu_decoding, "decode_files", change(FILES["a"], 1))
    assert ", 1 at most" in compare_with_processor(encoded, CPU)
    monkeypatch.setattr(gpu_decoding, "decode_files", change(FILES["c"], 4))  # one of six: 0.7 on average of all
    with pytest.raises(ReproError, match=r"image c .* by [34]\.[0-9] of 255 on average, more than the 2 .*: leave out"):
        compare_with_processor(encoded, CPU)


@pytest.mark.parametrize("size", [(10, 10), (24, 60), (300, 200)])
def test_a_gpu_resizes_numbers_and_rounds_them(size):
    """What it computes, on a processor: at most 1 from the bytes that a processor makes."""
    image = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draw = draw_augmentation(*size, Augmentation(size=24), np.random.default_rng(0))
    usual = cut_square(image, draw, 24)
    with mock.patch.object(torch.Tensor, "device", SimpleNamespace(type="cuda")):
        other = cut_square(image, draw, 24)
    assert other.dtype == torch.uint8
    assert (usual.int() - other.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--decode-on", "both"], "unknown value of --decode-on 'both'"),
        (["--decode-on", "gpu", "--profile", "mini"], "belongs to the full profile"),
        (["--decode-on", "gpu", "--profile", "full", "--source", "checkpoint"], "is of a training"),
        (["--decode-on", "gpu", "--profile", "full", "--device", "cpu"], "--device cpu has none"),
        (["--decode-on", "gpu", "--profile", "full", "--table", "2"], "changes nothing of what is to be measured"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(arguments, why, tmp_path):
    table = [] if "--table" in arguments else ["--table", "4"]
    result = CliRunner().invoke(app, ["plan", *table, *arguments, "--results", str(tmp_path)])
    assert isinstance(result.exception, ReproError)
    assert why in str(result.exception)


def test_it_is_of_imagenets_trainings_alone(tmp_path):
    asked = Settings(results=tmp_path, profile="full", decode_on="gpu")
    with pytest.raises(ReproError, match="nvJPEG, and this is computed on a CPU"):
        check_arithmetic(get("imagenet-r50-gc-r16"), asked, "cpu")
    check_arithmetic(get("imagenet-r50-gc-r16"), asked, "cuda")
    check_arithmetic(get("coco-r50-gc-r16"), asked, "cpu")
    with pytest.raises(ReproError, match="changes nothing of coco-r50-gc-r16"):
        refuse_options_without_effect([get("coco-r50-gc-r16")], asked)
    refuse_options_without_effect([get("coco-r50-gc-r16"), get("imagenet-r50-gc-r16")], asked)
    refuse_options_without_effect([get("coco-r50-gc-r16")], replace(asked, decode_on="cpu"))
    for name, changes in (("imagenet-r50-gc-r16", True), ("coco-r50-gc-r16", False), ("kinetics-r50-5nl", False)):
        one, other = (
            training_key(get(name), replace(asked, decode_on=each, initial="random"), "data") for each in ("cpu", "gpu")
        )
        assert (one != other) is changes, name
