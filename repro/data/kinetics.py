"""One split of Kinetics-400, or of a directory that is laid out as it is, as a video classifier takes it."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision.models.video import R3D_18_Weights

from repro.data import kinetics_lists as lists
from repro.data.clips import PAPER, ClipAugmentation, ClipSample, read_evaluation_clips, read_training_clip
from repro.data.video import Video
from repro.errors import ReproError
from repro.experiments import digest
from repro.experiments.preprocessing import Preprocessing

#: The 400 classes in the order of their numbers, as the official lists print them, parentheses and apostrophe
#: included: ascending, which the names of directories without these are not.
LABELS: tuple[str, ...] = tuple(R3D_18_Weights.KINETICS400_V1.meta["categories"])

#: Rows of the official lists. No copy has all of the videos.
OFFICIAL = {"train": 246_534, "val": 19_906}

Split = Literal["train", "val"]


class Kinetics:
    """The videos of a split with their classes.

    Videos lie in `videos_<split>` or `<split>`, flat or in a directory for each class. The list of what belongs to the
    split is the first of these that is there: the official CSV, mmaction2's list, the directories themselves. With a
    list, videos that are not on disk are known, and files that it does not have are left out.

    A video's id is "<youtube id>_<start>_<end>", the seconds with six digits, as the official files are named; a file
    may be named by the YouTube id alone. In another data set it is the file's name without suffix. Ids ascend. Labels
    are numbered by `labels`, never by sorting directories.

    Args:
        root: the directory that holds all this.
        split: "train" or "val".
        preprocessing: what becomes of a video in an evaluation.
        augmentation: what becomes of it in training.
        labels: the classes' names in the order of their numbers: those of Kinetics-400, or of another data set.

    Raises:
        ReproError: there is no video, a class that is none, a video twice, a damaged list; with what to do.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        preprocessing: Preprocessing = PAPER,
        augmentation: ClipAugmentation = ClipAugmentation(),  # noqa: B008 frozen
        labels: Sequence[str] = LABELS,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.classes = tuple(labels)
        self.place = lists.find_directory(root, split)
        files = lists.list_files(self.place)
        self.list_path, rows = lists.read_list(root, split, self.classes)
        if self.list_path is None:
            rows = lists.label_by_directories(files, self.place, self.classes)
        found = lists.match_files(files, rows, self.place)
        if not found:
            held = "none of the videos that its list has" if rows else "no video"
            raise ReproError(f"{self.place} holds {held}. {lists.SOURCE}.")
        #: {id: class} of all that belongs to the split.
        self.listed: lists.Listed = dict(sorted(rows.items()))
        self.ids = [video_id for video_id in self.listed if video_id in found]
        self.labels = np.array([self.listed[video_id] for video_id in self.ids], dtype=np.int64)
        self._paths = [found[video_id] for video_id in self.ids]
        #: Files that the list does not have.
        self.unlisted = sorted(set(files) - set(self._paths))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def missing(self) -> list[str]:
        """Ids of videos that the list has and the disk has not."""
        return sorted(self.listed.keys() - set(self.ids))

    @property
    def required(self) -> int:
        """How many videos the split has: the official number, if the classes are those of Kinetics-400."""
        return OFFICIAL[self.split] if self.classes == LABELS else len(self.listed)

    @cached_property
    def ids_sha256(self) -> str:
        """Of `ids`."""
        return digest(self.ids)

    @cached_property
    def annotations_sha256(self) -> str:
        """Of the ids with their classes, those of missing videos, too: what is taken for the truth."""
        return digest([[video_id, self.classes[label]] for video_id, label in self.listed.items()])

    def path(self, index: int) -> Path:
        """The file of the video at `index` of `ids`."""
        return self.place / self._paths[index]

    def directory_class(self, index: int) -> int | None:
        """The class that the directory of a video is named after, if any."""
        return lists.find_class(os.path.dirname(self._paths[index]), self.classes)

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> ClipSample:
        """The video at `index` of `ids`: a random clip in training, else all views that `preprocessing` asks for.

        What is random is a function of (seed, epoch, index) alone, so that it does not depend on how many processes
        load the data or on where a run was resumed.

        Raises:
            UnreadableVideo: the file is gone, damaged or no video.
        """
        video_id, label = self.ids[index], int(self.labels[index])
        with Video(self.path(index), video_id) as video:
            if not train:
                return ClipSample(read_evaluation_clips(video, self.preprocessing), video_id, label)
            generator = np.random.default_rng([seed, epoch, index])
            return ClipSample(read_training_clip(video, self.augmentation, generator), video_id, label)

    def check(self, index: int) -> None:
        """Decode every frame of a video.

        Raises:
            UnreadableVideo: the file is gone, damaged or no video.
        """
        with Video(self.path(index), self.ids[index]) as video:
            video.decode()
