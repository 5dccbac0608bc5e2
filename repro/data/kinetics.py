"""One split of Kinetics-400, or of a directory of the same layout, as input of a video classifier."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from torchvision.models.video import R3D_18_Weights

from repro.data import kinetics_lists as lists
from repro.data.clips import ClipAugmentation, ClipSample, read_evaluation_clips, read_training_clip
from repro.data.sources import Split
from repro.data.video import DecodedVideo, Video
from repro.errors import ReproError
from repro.experiments import digest
from repro.experiments.preprocessing import CLIPS_TRAINED_HERE, Preprocessing

#: The 400 classes in the order of their numbers, as the official lists print them, with parentheses and apostrophe. So
#: they ascend; names of directories, which lack these, sort in another order.
LABELS: tuple[str, ...] = tuple(R3D_18_Weights.KINETICS400_V1.meta["categories"])

#: Numbers of rows of the official lists. No copy has all of the videos.
OFFICIAL = {"train": 246_534, "val": 19_906}


class Kinetics:
    """The videos of a split with their classes.

    Videos lie in `videos_<split>` or `<split>`, flat or in a directory for each class. The first of these that exists
    tells the split's videos: the official CSV, mmaction2's list, the directories themselves. Files that a list does
    not have are left out.

    A video's id is "<youtube id>_<start>_<end>", the seconds with six digits, as the official files are named; a file
    may be named by the YouTube id alone. In another data set it is the file's name without suffix. Ids ascend. Labels
    are numbered by `labels`, never by sorting directories.

    Args:
        root: the directory that holds all this.
        split: "train" or "val".
        preprocessing: how a video is prepared in an evaluation.
        augmentation: how it is prepared in training.
        labels: the classes' names in the order of their numbers: those of Kinetics-400, or of another data set.
        keep: keep all frames of training videos in memory: a small data set is then decoded once, not in every epoch.

    Raises:
        ReproError: there is no video, an unknown class, a video twice or a damaged list; says what to do.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        preprocessing: Preprocessing = CLIPS_TRAINED_HERE,
        augmentation: ClipAugmentation = ClipAugmentation(),  # noqa: B008 frozen
        labels: Sequence[str] = LABELS,
        *,
        keep: bool = False,
    ) -> None:
        self.split = split
        self.preprocessing = preprocessing
        self.augmentation = augmentation
        self.classes = tuple(labels)
        self._decoded: dict[int, DecodedVideo] | None = {} if keep else None
        self.place = lists.find_directory(root, split)
        files = lists.list_files(self.place)
        self.list_path, rows = lists.read_list(root, split, self.classes, of_youtube=self.classes == LABELS)
        if self.list_path is None:
            rows = lists.label_by_directories(files, self.place, self.classes)
        file_of_id = lists.match_files(files, rows, self.place)
        if not file_of_id:
            held = "none of the videos that its list has" if rows else "no video"
            raise ReproError(f"{self.place} holds {held}. {lists.SOURCE}.")
        #: {id: class} of all videos of the split.
        self.listed: lists.Listed = dict(sorted(rows.items()))
        self.ids = [video_id for video_id in self.listed if video_id in file_of_id]
        self.labels = np.array([self.listed[video_id] for video_id in self.ids], dtype=np.int64)
        self._paths = [file_of_id[video_id] for video_id in self.ids]
        #: Files that are not in the list.
        self.unlisted = sorted(set(files) - set(self._paths))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def missing(self) -> list[str]:
        """Ids of videos that are in the list and not on the disk."""
        return sorted(self.listed.keys() - set(self.ids))

    @property
    def required(self) -> int:
        """The number of videos of the split: the official one, if the classes are those of Kinetics-400."""
        return OFFICIAL[self.split] if self.classes == LABELS else len(self.listed)

    @cached_property
    def ids_sha256(self) -> str:
        """The hash of `ids`."""
        return digest(self.ids)

    @cached_property
    def annotations_sha256(self) -> str:
        """The hash of all ids, also those of missing videos, with their classes, which are taken for the truth."""
        return digest([[video_id, self.classes[label]] for video_id, label in self.listed.items()])

    def get_path(self, index: int) -> Path:
        """The file of the video at `index` of `ids`."""
        return self.place / self._paths[index]

    def find_directory_class(self, index: int) -> int | None:
        """The class after which the directory of a video is named, if any."""
        return lists.find_class(os.path.dirname(self._paths[index]), self.classes)

    def sample(self, index: int, *, seed: int = 0, epoch: int = 0, train: bool = False) -> ClipSample:
        """Load the video at `index` of `ids`: a random clip in training, else all views that `preprocessing` asks for.

        What is random is a function of (seed, epoch, index) alone, so that it does not depend on how many processes
        load the data or on where a run was resumed.

        Raises:
            UnreadableVideo: the file is missing, damaged or no video.
        """
        video_id, label = self.ids[index], int(self.labels[index])
        if train and self._decoded is not None:
            return self._cut_training_clip(self._keep(index), index, seed, epoch)
        with Video(self.get_path(index), video_id) as video:
            if train:
                return self._cut_training_clip(video, index, seed, epoch)
            return ClipSample(read_evaluation_clips(video, self.preprocessing), video_id, label)

    def _cut_training_clip(self, video: Video | DecodedVideo, index: int, seed: int, epoch: int) -> ClipSample:
        generator = np.random.default_rng([seed, epoch, index])
        clip = read_training_clip(video, self.augmentation, generator)
        return ClipSample(clip, self.ids[index], int(self.labels[index]))

    def _keep(self, index: int) -> DecodedVideo:
        assert self._decoded is not None
        if index not in self._decoded:
            with Video(self.get_path(index), self.ids[index]) as video:
                self._decoded[index] = DecodedVideo(video)
        return self._decoded[index]

    def check(self, index: int) -> None:
        """Decode every frame of a video.

        Raises:
            UnreadableVideo: the file is missing, damaged or no video.
        """
        with Video(self.get_path(index), self.ids[index]) as video:
            video.decode()
