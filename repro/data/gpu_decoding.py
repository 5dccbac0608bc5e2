"""Training images whose JPEG files a GPU decodes, by nvJPEG through torchvision, and resizes.

A file is read and looked at by a loading process, which needs a tenth of the time of decoding it; the rectangle, the
flip and the colours are drawn there, too, as where a processor decodes. What nvJPEG does not read as libjpeg-turbo does
(CMYK, other formats, files that end too early) is decoded by the processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from repro.data import pictures
from repro.data.classification import (
    Augmentation,
    AugmentationDraw,
    ImageBatch,
    cut_square,
    draw_augmentation,
    mix_colors,
)
from repro.errors import ReproError

#: Files that are decoded both ways before a training.
COMPARED = 64
#: By how much of 255 the two may differ on average. JPEG's standard leaves rounding and the interpolation of colours to
#: decoders: an edge of colour may differ by a lot, a picture may not.
MOST_DIFFERENCE = 2.0


@dataclass
class EncodedSample:
    """One image as input of a classifier, its file not yet decoded."""

    file: bytes  #: JPEG; or uint8 (H, W, 3), RGB, as they lie in memory
    shape: tuple[int, int] | None  #: (H, W) of what is decoded; None: a file
    image_id: str
    label: int  #: 0..K-1
    draw: AugmentationDraw
    size: int  #: of the square that is made of it, pixels


@dataclass
class EncodedBatch:
    """Samples of one size, which become an `ImageBatch` on the way to the device."""

    files: Tensor  #: uint8 (bytes of all files,): in one tensor, for each from another process is an open file
    lengths: list[int]  #: of the files, bytes
    shapes: list[tuple[int, int] | None]  #: see `EncodedSample`
    draws: list[AugmentationDraw]
    labels: Tensor  #: int64 (B,)
    image_ids: list[str]
    size: int

    def to(self, device: torch.device, non_blocking: bool = False) -> ImageBatch:
        """Decode, resize and draw the colours on `device`.

        Raises:
            UnreadableImage: a file is damaged where only a decoder notices it.
        """
        images = self._decode(torch.device(device))
        squares = torch.stack([cut_square(*each, self.size) for each in zip(images, self.draws, strict=True)])
        means = squares.flatten(2).sum(dim=2).cpu().numpy() / self.size**2
        colors = mix_colors(means, [draw.colors for draw in self.draws]).astype(np.float32)
        return ImageBatch(
            images=squares,
            labels=self.labels.to(device, non_blocking=non_blocking),
            image_ids=self.image_ids,
            colors=torch.from_numpy(colors).to(device, non_blocking=non_blocking),
        )

    def _decode(self, device: torch.device) -> list[Tensor]:
        """The images, uint8 (3, H, W)."""
        parts = [*zip(self.files.split(self.lengths), self.shapes, self.image_ids, strict=True)]
        encoded = [(file, image_id) for file, shape, image_id in parts if shape is None]
        decoded = iter(self._decode_files(*map(list, zip(*encoded, strict=True)), device) if encoded else [])
        return [
            next(decoded) if shape is None else file.to(device).view(*shape, 3).permute(2, 0, 1)
            for file, shape, _ in parts
        ]

    def _decode_files(self, files: list[Tensor], image_ids: list[str], device: torch.device) -> list[Tensor]:
        try:
            return decode_files(files, device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # of the whole batch, and without a name
            for file, image_id in zip(files, image_ids, strict=True):
                try:
                    pictures.decode_pixels(file.numpy().tobytes())
                except pictures.UndecodablePicture as reason:
                    message = f"image {image_id} is corrupt: {reason}. Unpack or download it again."
                    raise pictures.UnreadableImage(image_id, message) from None
            raise ReproError(
                f"nvJPEG cannot decode one of {len(files)} images that libjpeg-turbo decodes ({error}): leave out "
                "--decode-on gpu"
            ) from None

    def pin_memory(self) -> EncodedBatch:
        """Itself: nvJPEG reads files where they are."""
        return self


def encode_sample(content: bytes, image_id: str, label: int, augmentation: Augmentation, *seed: int) -> EncodedSample:
    """Draw the augmentation of an image, by `seed`, and leave its file as it is where a GPU decodes it.

    Raises:
        UndecodablePicture: the processor has to decode it, and cannot.
    """
    generator = np.random.default_rng([*seed])
    size = pictures.measure_plain_jpeg(content)
    shape = None
    if size is None:
        pixels = pictures.decode_pixels(content)
        content, size = pixels.tobytes(), pixels.shape[:2]
        shape = size
    draw = draw_augmentation(*size, augmentation, generator)
    return EncodedSample(content, shape, image_id, label, draw, augmentation.size)


def collate_encoded(samples: Sequence[EncodedSample]) -> EncodedBatch:
    """Join `samples` to a batch."""
    content = b"".join(sample.file for sample in samples)
    return EncodedBatch(
        files=torch.frombuffer(bytearray(content), dtype=torch.uint8),
        lengths=[len(sample.file) for sample in samples],
        shapes=[sample.shape for sample in samples],
        draws=[sample.draw for sample in samples],
        labels=torch.tensor([sample.label for sample in samples]),
        image_ids=[sample.image_id for sample in samples],
        size=samples[0].size,
    )


def decode_files(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """Decode JPEG files, uint8 (bytes,) on the processor, to uint8 (3, H, W) on `device`: by nvJPEG on a GPU.

    Raises:
        RuntimeError: one of them is damaged.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated")  # for TorchCodec, which decodes them on processors
        return decode_jpeg(files, ImageReadMode.RGB, device)


def compare_decoders(files: Sequence[bytes], device: torch.device) -> str:
    """Compare what `device` decodes of JPEG files with what the processor does, in words.

    Raises:
        ReproError: they differ by more than `MOST_DIFFERENCE` on average.
    """
    sums, pixels, most = 0, 0, 0
    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    for file, image in zip(files, decode_files(tensors, device), strict=True):
        difference = (image.cpu().permute(1, 2, 0).int() - torch.from_numpy(pictures.decode_pixels(file)).int()).abs()
        sums += int(difference.sum())
        pixels += difference.numel()
        most = max(most, int(difference.max()))
    mean = sums / pixels
    words = f"values of {len(files)} differ from libjpeg-turbo's by {mean:.3f} of 255 on average, {most} at most"
    if mean > MOST_DIFFERENCE:
        raise ReproError(
            f"JPEG files decoded on {device.type}: {words}, which is more than the {MOST_DIFFERENCE:g} that rounding "
            "explains: leave out --decode-on gpu"
        )
    return words
