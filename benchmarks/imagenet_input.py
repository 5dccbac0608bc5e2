"""Training images a second and core, from a JPEG file to a network's input: torchvision's pipeline and others.

    python benchmarks/imagenet_input.py DIRECTORY [ROUNDS]

DIRECTORY holds `val/<wnid>/*.JPEG`. Peers are measured if they can be imported (`pip install opencv-python-headless
pyvips[binary] torchcodec`). One thread; processor time, since other work may run on the machine; all pipelines take
turns in every round, so that a slow spell of the machine meets them alike, and ratios are taken within a round.
"""

from __future__ import annotations

import importlib
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.nn.functional import interpolate
from torchvision import io as torchvision_io
from torchvision import transforms
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import v2

from repro.data.classification import Augmentation, choose_rectangle
from repro.data.imagenet import ImageNet

AUGMENTATION = Augmentation()
NORMAL = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZE = (224, 224)

Pipeline = Callable[[int], torch.Tensor]


class Pipelines:
    """One method for each way; `crop` draws the same rectangles for all that do not bring their own."""

    def __init__(self, root: Path) -> None:
        self.data = ImageNet(root, "val", augmentation=AUGMENTATION)
        self.paths = [str(self.data._files.describe_place(index)) for index in self.data._index]
        tail = (transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float), transforms.Normalize(**NORMAL))
        head = (transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip())
        self._reference = transforms.Compose([*head, *tail])
        self._jitter = transforms.Compose([*head, transforms.ColorJitter(0.4, 0.4, 0.4), *tail])
        self._v2 = v2.Compose(
            [v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float, scale=True),
             v2.Normalize(**NORMAL)]
        )  # fmt: skip

    def crop(self, height: int, width: int, index: int) -> tuple[slice, slice]:
        top, left, high, wide = choose_rectangle(height, width, AUGMENTATION, np.random.default_rng([0, 0, index]))
        return slice(top, top + high), slice(left, left + wide)

    def content(self, index: int) -> bytes:
        return Path(self.paths[index]).read_bytes()

    def reference(self, index: int) -> torch.Tensor:
        return self._reference(pil_loader(self.paths[index]))

    def reference_jitter(self, index: int) -> torch.Tensor:
        return self._jitter(pil_loader(self.paths[index]))

    def torchvision_v2(self, index: int) -> torch.Tensor:
        return self._v2(torchvision_io.decode_image(self.paths[index], torchvision_io.ImageReadMode.RGB))

    def pillow(self, index: int) -> np.ndarray:
        image = pil_loader(self.paths[index])
        rows, columns = self.crop(image.height, image.width, index)
        box = (columns.start, rows.start, columns.stop, rows.stop)
        return np.asarray(image.crop(box).resize(SIZE, Image.Resampling.BILINEAR))

    def pillow_draft(self, index: int) -> np.ndarray:
        with Image.open(io.BytesIO(self.content(index))) as image:
            width, height = image.size
            rows, columns = self.crop(height, width, index)
            share = min((columns.stop - columns.start) / 224, (rows.stop - rows.start) / 224)
            image.draft("RGB", (int(width / max(share, 1)), int(height / max(share, 1))))
            scale = image.width / width
            box = [side * scale for side in (columns.start, rows.start, columns.stop, rows.stop)]
            return np.asarray(image.convert("RGB").resize(SIZE, Image.Resampling.BILINEAR, box=box))

    def simplejpeg_pillow(self, index: int) -> np.ndarray:
        pixels = simplejpeg.decode_jpeg(self.content(index), "RGB")
        part = pixels[self.crop(*pixels.shape[:2], index)]
        return np.asarray(Image.fromarray(part).resize(SIZE, Image.Resampling.BILINEAR))

    def simplejpeg_torch(self, index: int) -> np.ndarray:
        return shrunk(simplejpeg.decode_jpeg(self.content(index), "RGB"), self, index)

    def torchvision_torch(self, index: int) -> np.ndarray:
        content = torch.frombuffer(bytearray(self.content(index)), dtype=torch.uint8)
        image = torchvision_io.decode_jpeg(content, torchvision_io.ImageReadMode.RGB)
        return shrunk(image.permute(1, 2, 0).numpy(), self, index)

    def torchcodec_torch(self, index: int) -> np.ndarray:
        decoders = importlib.import_module("torchcodec.decoders")
        content = torch.frombuffer(bytearray(self.content(index)), dtype=torch.uint8)
        return shrunk(decoders.decode_jpeg(content, mode="RGB").permute(1, 2, 0).numpy(), self, index)

    def opencv(self, index: int, method: str = "INTER_LINEAR") -> np.ndarray:
        cv2 = importlib.import_module("cv2")
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        pixels = cv2.imdecode(np.frombuffer(self.content(index), np.uint8), flags)
        return cv2.resize(pixels[self.crop(*pixels.shape[:2], index)], SIZE, interpolation=getattr(cv2, method))

    def opencv_area(self, index: int) -> np.ndarray:
        return self.opencv(index, "INTER_AREA")

    def pyvips(self, index: int) -> np.ndarray:
        vips = importlib.import_module("pyvips")
        image = vips.Image.new_from_buffer(self.content(index), "", access="sequential").colourspace("srgb")
        rows, columns = self.crop(image.height, image.width, index)
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        part = image.crop(columns.start, rows.start, wide, high)
        return part.resize(224 / wide, vscale=224 / high, kernel="linear").numpy()[:224, :224]

    def ours(self, index: int) -> torch.Tensor:
        return self.data.sample(index, train=True).image


def shrunk(pixels: np.ndarray, pipelines: Pipelines, index: int) -> np.ndarray:
    part = torch.from_numpy(pixels[pipelines.crop(*pixels.shape[:2], index)]).permute(2, 0, 1)[None]
    part = part.contiguous(memory_format=torch.channels_last)
    return interpolate(part, SIZE, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


#: Name, what it is, module that it needs; whether its uint8 pixels are of the rectangles that `crop` draws.
ROWS = (
    ("reference", "torchvision's reference: Pillow, float32, normalised", "PIL", False),
    ("reference_jitter", "the same with its ColorJitter", "PIL", False),
    ("torchvision_v2", "torchvision.io and transforms.v2 on tensors, normalised", "torchvision", False),
    ("pillow", "Pillow, to uint8", "PIL", True),
    ("pillow_draft", "Pillow, decoding at 1/2, 1/4 where it suffices (draft), to uint8", "PIL", True),
    ("pyvips", "pyvips, linear kernel, to uint8", "pyvips", True),
    ("opencv", "OpenCV, INTER_LINEAR, to uint8", "cv2", True),
    ("opencv_area", "OpenCV, INTER_AREA, to uint8", "cv2", True),
    ("simplejpeg_pillow", "simplejpeg, resized by Pillow, to uint8", "simplejpeg", True),
    ("torchvision_torch", "torchvision.io (deprecated), resized by PyTorch, to uint8", "torchvision", True),
    ("torchcodec_torch", "torchcodec, resized by PyTorch, to uint8", "torchcodec", True),
    ("simplejpeg_torch", "simplejpeg, resized by PyTorch, to uint8", "simplejpeg", True),
    ("ours", "this project: the same, with flip and the draw of all changes of colour", "simplejpeg", False),
)


def main(root: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", DeprecationWarning)
    pipelines = Pipelines(root)
    n = len(pipelines.data)
    rows = [row for row in ROWS if _runs(getattr(pipelines, row[0]), row[2])]
    rates: dict[str, list[float]] = {name: [] for name, *_ in rows}
    for _ in range(rounds):
        for name, *_ in rows:
            run, begin = getattr(pipelines, name), time.process_time()
            for index in range(n):
                run(index)
            rates[name].append(n / (time.process_time() - begin))
    print("| pipeline | images/s and core | of the reference (lowest, highest round) | differs from Pillow's pixels |")
    print("|:---|---:|---:|:---|")
    for name, what, _, comparable in rows:
        ratios = [one / reference for one, reference in zip(rates[name], rates["reference"], strict=True)]
        difference = _difference(pipelines, getattr(pipelines, name)) if comparable else ""
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
        print(f"| {what} | {statistics.median(rates[name]):.0f} | {spread} | {difference} |")


def _runs(pipeline: Pipeline, module: str) -> bool:
    try:
        importlib.import_module(module)
        pipeline(0)
    except (ImportError, OSError, RuntimeError) as error:
        print(f"{pipeline.__name__} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    return True


def _difference(pipelines: Pipelines, pipeline: Pipeline) -> str:
    """From what Pillow makes of the same rectangle, over all images: share of values, mean and largest difference."""
    found = [pipeline(i).astype(int) - pipelines.pillow(i) for i in range(len(pipelines.data))]
    values = np.concatenate([one.ravel() for one in found])
    if not values.any():
        return "no"
    share, size = np.mean(values != 0), np.abs(values)
    return f"{share:.1%} of values, by {size.mean():.3f} on average (bias {values.mean():+.4f}), {size.max()} at most"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 9)
