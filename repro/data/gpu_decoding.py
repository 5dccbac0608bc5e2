"""Training images whose JPEG files a GPU decodes, by nvJPEG through torchvision, and resizes.

A file is read and looked at by a loading process; the rectangle, the flip and the colours are drawn there, too, as
where a processor decodes. What nvJPEG does not read as libjpeg-turbo does (CMYK, other formats, files that end too
early) is decoded by the processor.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from repro.data import pictures
from repro.data.classification import (
    AugmentationDraw,
    ImageBatch,
    cut_square,
    draw_augmentation,
    mix_colors,
)
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.data.imagenet import ImageNet

#: Images that are prepared both ways before a training.
COMPARED = 64
#: By how much of 255 each may differ on average. JPEG's standard leaves rounding and the interpolation of colours to
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
        files = [file for file, shape, _ in parts if shape is None]
        ids = [image_id for _, shape, image_id in parts if shape is None]
        decoded = iter(_decode_named(files, ids, device) if files else [])
        return [
            next(decoded) if shape is None else file.to(device).view(*shape, 3).permute(2, 0, 1)
            for file, shape, _ in parts
        ]


@dataclass(frozen=True)
class EncodedImages:
    """The training images of a split whose files are left for a GPU to decode."""

    images: ImageNet

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = True) -> EncodedSample:
        """Read the file of an image and draw its augmentation, as `ImageNet.sample` does in training.

        Raises:
            UnreadableImage: it is missing, or a processor has to decode it and cannot.
        """
        images, content = self.images, self.images.read_file(index)
        size, shape = pictures.measure_plain_jpeg(content), None
        if size is None:
            try:
                pixels = pictures.decode_pixels(content)
            except pictures.UndecodablePicture as error:
                raise images.describe_corrupt(index, error) from None
            content, size = pixels.tobytes(), pixels.shape[:2]
            shape = size
        draw = draw_augmentation(*size, images.augmentation, np.random.default_rng([seed, epoch, index]))
        return EncodedSample(
            content, shape, images.ids[index], int(images.labels[index]), draw, images.augmentation.size
        )


def collate_encoded(samples: Sequence[EncodedSample]) -> EncodedBatch:
    """Join `samples` to a batch."""
    return EncodedBatch(
        files=torch.frombuffer(bytearray().join(sample.file for sample in samples), dtype=torch.uint8),
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
        RuntimeError: one of them is damaged, or of a kind that nvJPEG does not decode.
    """
    if device.type == "cuda":
        # torchvision decodes on a stream of its own, into memory that this one may still be at work in: it does not
        # wait (pytorch/vision, pull request 9606).
        torch.cuda.current_stream(device).synchronize()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*deprecated")  # for TorchCodec, which decodes them on processors
        return decode_jpeg(files, ImageReadMode.RGB, device)


def _decode_named(files: list[Tensor], image_ids: list[str], device: torch.device) -> list[Tensor]:
    """`decode_files`; what it cannot decode is left to the processor.

    Raises:
        UnreadableImage: which cannot, either.
    """
    try:
        return decode_files(files, device)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # of the whole batch, and without a name
        if len(files) > 1:
            return [_decode_named([file], [id_], device)[0] for file, id_ in zip(files, image_ids, strict=True)]
    try:
        pixels = pictures.decode_pixels(files[0].numpy().tobytes())
    except pictures.UndecodablePicture as reason:
        message = f"image {image_ids[0]} is corrupt: {reason}. Unpack or download it again."
        raise pictures.UnreadableImage(image_ids[0], message) from None
    return [torch.from_numpy(pixels).permute(2, 0, 1).to(device)]


def compare_with_processor(encoded: EncodedImages, device: torch.device) -> str:
    """Prepare `COMPARED` images, evenly from all, on `device` and by the processor; say in words how they differ.

    Raises:
        UnreadableImage: one is missing or damaged.
        ReproError: one differs by more than `MOST_DIFFERENCE` on average, or `device` decodes none of them.
    """
    indices = dict.fromkeys(np.linspace(0, len(encoded) - 1, min(COMPARED, len(encoded))).astype(int).tolist())
    samples = {index: encoded.sample(index) for index in indices}
    _require_decoder([sample for sample in samples.values() if sample.shape is None], device)
    differences = []
    for index, sample in samples.items():  # one by one: they are of any sizes, and decoded memory is freed
        own = collate_encoded([sample]).to(device).images[0].cpu().int()
        usual = encoded.images.sample(index, train=True)
        differences.append((own - usual.image.int()).abs())
        if (mean := differences[-1].double().mean().item()) > MOST_DIFFERENCE:
            raise ReproError(
                f"image {usual.image_id} prepared on {device.type} differs from the processor's by {mean:.1f} of 255 "
                f"on average, more than the {MOST_DIFFERENCE:g} that rounding explains: leave out --decode-on gpu"
            )
    every = torch.stack(differences)
    return (
        f"{len(every)} of them differ from the processor's by {every.double().mean().item():.3f} of 255 on average, "
        f"{int(every.max())} at most"
    )


def _require_decoder(samples: Sequence[EncodedSample], device: torch.device) -> None:
    """Require that `device` decodes any of these files: all others would be the processor's, in turn."""
    reason = "there is none that a GPU could decode"
    for sample in samples:
        try:
            decode_files([torch.frombuffer(bytearray(sample.file), dtype=torch.uint8)], device)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
        else:
            return
    raise ReproError(
        f"of {COMPARED} training images, or all, {device.type} decodes none: {reason}. Leave out --decode-on gpu."
    )
