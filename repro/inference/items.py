"""Pictures and videos that a user names, in the place of a validation split: read and prepared as that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from repro.data.classification import ImageSample, prepare_evaluation_image
from repro.data.clips import ClipSample, read_evaluation_clips
from repro.data.coco import DetectionSample, resize_picture
from repro.data.given_files import PHOTOGRAPH_FORMATS, PHOTOGRAPHS, VIDEOS, list_files
from repro.data.pictures import MOST_BYTES, UndecodablePicture, UnreadableImage, decode_image, read_upright
from repro.data.video import Video
from repro.errors import ReproError
from repro.experiments import Detector, Experiment
from repro.experiments.preprocessing import Preprocessing
from repro.files.regular_files import read_regular

#: Nobody said of what class these items are.
_NO_LABEL = 0
#: Digits of a name that is a number, as COCO's are; more would be another kind of name.
_MOST_DIGITS = 15


class ScenePictures:
    """Pictures for a detector."""

    def __init__(self, paths: Sequence[Path], network: Detector) -> None:
        self.paths, self._network = paths, network
        self.image_ids = number_pictures(paths)
        self.sizes: dict[int, tuple[int, int]] = {}  #: (height, width) of those that were loaded, in pixels

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, index: int) -> DetectionSample:
        """Load a picture, turned as its EXIF data say and resized.

        Raises:
            UnreadableImage: it cannot be read.
        """
        path = self.paths[index]
        picture = read_upright(path, path.name, PHOTOGRAPH_FORMATS)
        pixels = resize_picture(picture, self._network.short_side, self._network.long_side)
        self.sizes[index] = (picture.height, picture.width)
        return DetectionSample(
            image=pixels,
            image_id=self.image_ids[index],
            size=self.sizes[index],
            boxes=torch.zeros(0, 4),
            labels=torch.zeros(0, dtype=torch.int64),
            masks=torch.zeros(0, *pixels.shape[1:], dtype=torch.uint8),
        )


class ClassPictures:
    """Pictures for a classifier."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.paths, self.preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, index: int) -> ImageSample:
        """Load a picture, resized and cropped.

        Raises:
            UnreadableImage: it cannot be read.
        """
        path = self.paths[index]
        try:
            picture = decode_image(read_regular(path, MOST_BYTES, "image"), PHOTOGRAPH_FORMATS)
            return ImageSample(prepare_evaluation_image(picture, self.preprocessing), path.name, _NO_LABEL)
        except UndecodablePicture as error:
            raise UnreadableImage(path.name, f"image {path} is corrupt: {error}.") from None
        except ReproError as error:
            raise UnreadableImage(path.name, str(error)) from None


class Videos:
    """Videos for a classifier."""

    def __init__(self, paths: Sequence[Path], preprocessing: Preprocessing) -> None:
        self.paths, self.preprocessing = paths, preprocessing

    def __len__(self) -> int:
        return len(self.paths)

    def sample(self, index: int) -> ClipSample:
        """Load all views of a video.

        Raises:
            UnreadableVideo: it cannot be read.
        """
        path = self.paths[index]
        with Video(path, path.name) as video:
            return ClipSample(read_evaluation_clips(video, self.preprocessing), path.name, _NO_LABEL)


def number_pictures(paths: Sequence[Path]) -> list[int]:
    """Number pictures for COCO's format: by their names, where these are numbers as COCO's are; else from 1 on.

    >>> number_pictures([Path("000000000139.jpg"), Path("val/000000000285.jpg")])
    [139, 285]
    >>> number_pictures([Path("cat.jpg"), Path("000000000285.jpg")])
    [1, 2]
    """
    stems = [path.stem for path in paths]
    numbers = [int(stem) for stem in stems if stem.isdecimal() and stem.isascii() and len(stem) <= _MOST_DIGITS]
    return numbers if len(set(numbers)) == len(stems) else list(range(1, len(stems) + 1))


def list_items(experiment: Experiment, paths: Sequence[Path]) -> list[Path]:
    """List the pictures, or of a classifier of clips the videos, that files and directories are.

    Raises:
        ReproError: a path cannot be read or is of the other kind, a directory has none, or two files have one name.
    """
    videos = experiment.dataset == "kinetics"
    files = list_files(paths, VIDEOS if videos else PHOTOGRAPHS)
    other = next((file for file in files if file.suffix.lower() in (PHOTOGRAPHS if videos else VIDEOS)), None)
    if other is not None:
        wanted, given = ("videos", "a photograph") if videos else ("photographs", "a video")
        raise ReproError(f"{experiment.name} takes {wanted}, and {other} is {given}")
    return files
