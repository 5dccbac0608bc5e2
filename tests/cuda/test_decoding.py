"""Training images that are decoded on a device: nvJPEG's are near the processor's, and all the rest is the same."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from repro.data.classification import Augmentation, recolor
from repro.data.gpu_decoding import collate_encoded, compare_decoders, encode_sample


def write_photographs(count: int) -> list[bytes]:
    """JPEG files of smooth colours, of several sizes, baseline and progressive, one in grey."""
    generator = np.random.default_rng(0)
    files = []
    for number in range(count):
        coarse = generator.integers(0, 256, (6 + number % 3, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((320 + 17 * number, 240), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        (picture.convert("L") if number == 3 else picture).save(file, "JPEG", quality=90, progressive=number % 4 == 1)
        files.append(file.getvalue())
    return files


def test_a_batch_is_near_the_processors(device):
    files = write_photographs(8)
    assert "differ from libjpeg-turbo's by" in compare_decoders(files, torch.device(device))  # or it raises
    samples = [encode_sample(file, str(number), 0, Augmentation(), number) for number, file in enumerate(files)]
    one, other = (collate_encoded(samples).to(torch.device(where)) for where in ("cpu", device))
    assert other.images.device.type == other.colors.device.type == other.labels.device.type == device
    difference = (one.images.float() - other.images.cpu().float()).abs()
    assert difference.mean() <= 2
    again = recolor(other.images, other.colors).cpu()
    assert (recolor(one.images, one.colors) - again).abs().mean() <= 4
