"""Training images that are decoded on a device: nvJPEG's are near the processor's, and all the rest is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from repro.data.classification import recolor
from repro.data.gpu_decoding import EncodedImages, collate_encoded, compare_with_processor
from repro.data.imagenet import ImageNet


def write_photographs(directory: Path, count: int) -> None:
    """JPEG files of smooth colours, of several sizes, baseline and progressive, one in grey."""
    generator = np.random.default_rng(0)
    directory.mkdir(parents=True)
    for number in range(count):
        coarse = generator.integers(0, 256, (6 + number % 3, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((320 + 17 * number, 240), Image.Resampling.BICUBIC)
        picture = picture.convert("L") if number == 3 else picture
        picture.save(directory / f"{number}.JPEG", quality=90, progressive=number % 4 == 1)


def test_a_batch_is_near_the_processors(device, tmp_path):
    write_photographs(tmp_path / "train" / "n01440764", 8)
    encoded = EncodedImages(ImageNet(tmp_path, "train"))
    assert "8 of them differ from" in compare_with_processor(encoded, torch.device(device))  # or it raises
    samples = [encoded.sample(index) for index in range(len(encoded))]
    one, other = (collate_encoded(samples).to(torch.device(where)) for where in ("cpu", device))
    assert other.images.device.type == other.colors.device.type == other.labels.device.type == device
    difference = (one.images.float() - other.images.cpu().float()).abs()
    assert difference.mean() <= 2
    again = recolor(other.images, other.colors).cpu()
    assert (recolor(one.images, one.colors) - again).abs().mean() <= 4
