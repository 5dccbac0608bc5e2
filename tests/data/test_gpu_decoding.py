"""Images that a GPU decodes, as far as it can be seen without one: a processor's decoder takes nvJPEG's place."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from repro.data import gpu_decoding, pictures
from repro.data.classification import Augmentation, collate
from repro.data.gpu_decoding import collate_encoded, compare_decoders, encode_sample
from repro.data.imagenet import ImageNet
from repro.data.pictures import UndecodablePicture, UnreadableImage
from repro.engine.devices import check_arithmetic
from repro.errors import ReproError
from repro.experiments import get
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


def open_both(root, augmentation: Augmentation = COLOURED) -> tuple[ImageNet, ImageNet]:
    usual, encoded = (ImageNet(root, "train", augmentation=augmentation, wnids=WNIDS, encoded=e) for e in (False, True))
    return usual, encoded


@pytest.mark.parametrize("augmentation", [Augmentation(size=24), COLOURED], ids=["factors", "pixels"])
def test_a_batch_is_the_usual_one_to_the_bit(root, augmentation):
    usual, encoded = open_both(root, augmentation)
    for epoch in range(5):
        one = collate([usual.sample(i, seed=3, epoch=epoch, train=True) for i in range(len(usual))])
        batch = collate_encoded([encoded.sample(i, seed=3, epoch=epoch, train=True) for i in range(len(encoded))])
        other = pickle.loads(pickle.dumps(batch)).pin_memory().to(CPU)  # as one that another process read
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.colors, other.colors)
        assert torch.equal(one.labels, other.labels)
        assert one.image_ids == other.image_ids


def test_only_plain_files_are_left_to_a_gpu(root):
    encoded = open_both(root)[1]
    samples = {one.image_id: one for one in (encoded.sample(i, train=True) for i in range(len(encoded)))}
    assert {name for name, one in samples.items() if one.shape is None} == {"a", "b", "c", "f"}
    assert {one.shape for one in samples.values()} == {None, (64, 48), (40, 72)}
    assert [pictures.measure_plain_jpeg(FILES[name]) for name in "abf"] == [(60, 80), (90, 40), (56, 56)]
    assert len(encoded.read_plain_jpegs(64)) == 4
    assert encoded.read_plain_jpegs(2) == [FILES["a"], FILES["f"]]


def test_a_file_that_ends_too_early_is_the_processors(root):
    (root / "train" / WNIDS[0] / "a.JPEG").write_bytes(FILES["a"][:-30])
    encoded = open_both(root)[1]
    with pytest.raises(UnreadableImage, match=r"a\.JPEG is corrupt"):
        encoded.sample(encoded.ids.index("a"), train=True)
    with pytest.raises(UndecodablePicture):
        encode_sample(FILES["a"][:-30], "a", 0, COLOURED, 0)


def test_what_only_a_decoder_notices_is_named(root, monkeypatch):
    def decode(files, device):
        raise RuntimeError("nvjpegDecode failed")

    monkeypatch.setattr(gpu_decoding, "decode_files", decode)
    whole = [encode_sample(FILES[name], name, 0, COLOURED, 0) for name in "abd"]
    with pytest.raises(ReproError, match=r"one of 2 images .* \(nvjpegDecode failed\): leave out"):
        collate_encoded(whole).to(CPU)
    start = FILES["b"].index(b"\xff\xc4") + 5  # of a Huffman table, how many codes there are of each length
    whole[1].file = FILES["b"][:start] + bytes([255] * 16) + FILES["b"][start + 16 :]
    with pytest.raises(UnreadableImage, match="image b is corrupt"):
        collate_encoded(whole).to(CPU)


def test_decoders_are_compared_before_a_training(monkeypatch):
    files = [FILES["a"], FILES["b"]]
    assert compare_decoders(files, CPU) == (
        "values of 2 differ from libjpeg-turbo's by 0.000 of 255 on average, 0 at most"
    )
    decode = gpu_decoding.decode_files

    def shifted(by):
        return lambda files, device: [(image.int() + by).clamp(0, 255).byte() for image in decode(files, device)]

    monkeypatch.setattr(gpu_decoding, "decode_files", shifted(1))
    assert "1 at most" in compare_decoders(files, CPU)
    monkeypatch.setattr(gpu_decoding, "decode_files", shifted(3))
    with pytest.raises(ReproError, match="3 at most, which is more than the 2 that rounding explains: leave out"):
        compare_decoders(files, CPU)


@pytest.mark.parametrize(
    ("name", "accelerator", "why"),
    [
        ("imagenet-r50-gc-r16", "cpu", "nvJPEG, and this is computed on a CPU"),
        ("coco-r50-gc-r16", "cuda", "is for JPEG files of ImageNet, and coco-r50-gc-r16 has other inputs"),
    ],
)
def test_where_it_would_do_nothing_it_is_refused(tmp_path, name, accelerator, why):
    settings = Settings(results=tmp_path, profile="full", decode_on="gpu")
    with pytest.raises(ReproError, match=why):
        check_arithmetic(get(name), settings, accelerator)
    check_arithmetic(get("imagenet-r50-gc-r16"), settings, "cuda")
