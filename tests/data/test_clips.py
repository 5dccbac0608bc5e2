"""Clips of videos: where they lie in time and space, what becomes of their pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from repro.data.clips import (
    ClipAugmentation,
    ClipSample,
    choose_clip_starts,
    collate,
    list_clip_frames,
    normalise,
    read_evaluation_clips,
    read_training_clip,
)
from repro.errors import ReproError
from repro.experiments import preprocessing
from repro.experiments.preprocessing import CLIPS_TRAINED_HERE, Preprocessing

#: As mmaction2 1.x, resized by PyTorch.
ENDS = replace(CLIPS_TRAINED_HERE, clip_starts="ends", clip_frames="stride", resizing="bytes")
MIDDLES = replace(ENDS, clip_starts="middles")


class Frames:
    """A video that is not in a file: pixel (y, x) of frame t is (t, y, x) / `scale`."""

    def __init__(self, frames, height, width, scale=1):
        self.frames, self._size, self._scale = frames, (height, width), scale

    def frame(self, index):
        y, x = np.mgrid[: self._size[0], : self._size[1]]
        return (np.stack([np.full_like(y, index), y, x], axis=-1) // self._scale).astype(np.uint8)

    def read(self, indices):
        for index in sorted(set(np.asarray(indices).tolist())):
            yield index, self.frame(index)


# -- time -------------------------------------------------------------------------------------------------------------


def test_middles_are_those_of_mmaction2_0():
    """A ten-second video at 30 frames/s: 237 starts in ten parts of 23.7, by hand."""
    assert choose_clip_starts(300, MIDDLES).tolist() == [11, 35, 59, 82, 106, 130, 154, 177, 201, 225]


def test_ends_are_those_of_mmaction2_1_and_the_last_clip_ends_with_the_video():
    """The last of 8 frames at stride 8 is 56 after the first: 243 of 300 frames in nine steps of 27."""
    starts = choose_clip_starts(300, ENDS)
    assert starts.tolist() == [0, 27, 54, 81, 108, 135, 162, 189, 216, 243]
    assert list_clip_frames(starts, 300, 8, 8).max() == 299
    # Of 100 frames 43 are left, 4.78 a step; halves go to the even number, as numpy rounds them.
    assert choose_clip_starts(100, ENDS).tolist() == [0, 5, 10, 14, 19, 24, 29, 33, 38, 43]


@pytest.mark.parametrize("frames", [1, 5, 63, 64, 65, 137, 250, 300, 301])
def test_clips_and_their_frames_are_those_of_slowfasts_code(frames):
    """Its `get_start_end_idx` and `temporal_sampling` on a whole video at 30 frames/s, in exact fractions."""
    starts = choose_clip_starts(frames, CLIPS_TRAINED_HERE)
    found = list_clip_frames(starts, frames, 8, 8, "span")
    for clip in range(10):
        start = Fraction(max(frames - 64, 0) * clip, 10)
        expected = [min(math.floor(start + Fraction(63 * t, 7)), frames - 1) for t in range(8)]
        assert found[clip].tolist() == expected
    if frames == 300:  # nine tenths of 236 are left before the last clip, which ends 24 frames before the video
        assert (found[9].tolist(), found[0].tolist()) == (
            [212, 221, 230, 239, 248, 257, 266, 275],
            [0, 9, 18, 27, 36, 45, 54, 63],
        )


def test_the_last_frame_of_a_short_video_is_repeated_where_a_clip_is_spread_over_its_span():
    assert list_clip_frames(np.zeros(1), 20, 8, 8, "span").tolist() == [[0, 9, 18, 19, 19, 19, 19, 19]]


@pytest.mark.parametrize("rule", ["middles", "ends"])
@pytest.mark.parametrize("frames", [1, 5, 56, 57, 63, 64, 65, 250])
def test_clips_lie_in_the_video(frames, rule):
    spec = replace(ENDS, clip_starts=rule)
    starts = choose_clip_starts(frames, spec)
    assert len(starts) == 10
    assert (np.diff(starts) >= 0).all()
    chosen = list_clip_frames(starts, frames, 8, 8)
    assert ((chosen >= 0) & (chosen < frames)).all()
    if frames >= 64:
        assert (np.diff(chosen, axis=1) == 8).all()


def test_a_short_video_is_played_again():
    assert choose_clip_starts(20, ENDS).tolist() == [0] * 10
    assert list_clip_frames(np.array([0, 3]), 20, 8, 8).tolist() == [
        [0, 8, 16, 4, 12, 0, 8, 16],
        [3, 11, 19, 7, 15, 3, 11, 19],
    ]


def test_weights_whose_sampling_is_not_known():
    with pytest.raises(ReproError, match="how the clips of an evaluation lie in time is not known"):
        choose_clip_starts(300, preprocessing.preprocessing_for("torchvision"))


# -- space ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(20, 35), (35, 20), (20, 20)])
def test_views_are_clip_by_clip_and_from_one_end_to_the_other(height, width):
    spec = replace(ENDS, resize=20, crop=20, clips=4, frames=3, stride=5)
    views = read_evaluation_clips(Frames(40, height, width), spec)
    assert views.shape == (12, 3, 3, 20, 20)
    assert views.dtype == torch.uint8
    chosen = list_clip_frames(choose_clip_starts(40, spec), 40, 3, 5)
    rest = (max(height, width) - 20, (max(height, width) - 20 + 1) // 2)
    for clip in range(4):
        for crop, offset in enumerate((0, rest[1], rest[0])):
            view = views[3 * clip + crop]
            assert view[0, :, 0, 0].tolist() == chosen[clip].tolist()
            assert view[1, 0, :, 0].tolist() == list(range(20) if height <= width else range(offset, offset + 20))
            assert view[2, 0, 0].tolist() == list(range(20) if width <= height else range(offset, offset + 20))


def test_one_crop_is_the_centre():
    spec = replace(ENDS, resize=20, crop=16, crops=1, clips=1, frames=2, stride=1)
    (view,) = read_evaluation_clips(Frames(5, 20, 30), spec)
    assert (int(view[1, 0, 0, 0]), int(view[2, 0, 0, 0])) == (2, 7)


@pytest.mark.rounding
def test_publishers_round_differently():
    """23 pixels beside a crop of 20, by hand: OpenMMLab's crops begin at 0, 1 and 2 * 1, the others' at 0, 2 and 3."""
    spec = replace(ENDS, resize=20, crop=20, clips=1, frames=1, stride=1)
    for resizer, expected in (("torch", [0, 2, 3]), ("opencv", [0, 1, 2])):
        views = read_evaluation_clips(Frames(1, 20, 23), replace(spec, resizer=resizer))
        assert views[:, 2, 0, 0, 0].tolist() == expected
    # 240 x 426 pixels: 454.4 wide; 240 x 427: 455.47; 240 x 428: 456.53.
    for width, cut, rounded in ((426, 454, 454), (428, 456, 457)):
        for resizer, expected, begin in (("torch", cut, cut - 256), ("opencv", rounded, 2 * ((rounded - 256) // 2))):
            right = read_evaluation_clips(Frames(1, 240, width), replace(ENDS, resizer=resizer, clips=1, frames=1))[2]
            image = torch.from_numpy(Frames(1, 240, width).frame(0)).permute(2, 0, 1)[None]
            whole = interpolate(image, (256, expected), mode="bilinear")
            assert torch.equal(right[:, 0], whole[0, :, :, begin : begin + 256])


class Noise(Frames):
    def frame(self, index):
        return np.random.default_rng(index).integers(0, 256, (*self._size, 3)).astype(np.uint8)


@pytest.mark.rounding
@pytest.mark.parametrize("size", [(240, 320), (480, 854), (100, 60)])
def test_pixels_are_those_of_the_filter_in_full_precision(size):
    """PyTorch's own, in float32; of Pillow's for weights that were measured with it."""
    video = Noise(1, *size)
    long = max(size) * 256 // min(size)
    scaled = (256, long) if size[0] <= size[1] else (long, 256)
    image = torch.from_numpy(video.frame(0)).permute(2, 0, 1)[None].float()
    whole = interpolate(image, scaled, mode="bilinear", align_corners=False)[0]
    found = read_evaluation_clips(video, replace(ENDS, clips=1, frames=1))[0, :, 0].float()
    difference = found - whole[:, :256, :256]
    assert difference.abs().max() <= 1.01
    assert abs(difference.mean()) < 0.1

    whole = np.asarray(Image.fromarray(video.frame(0)).resize(scaled[::-1], Image.Resampling.BILINEAR)).astype(int)
    found = read_evaluation_clips(video, replace(ENDS, clips=1, frames=1, resizer="pillow"))[0, :, 0].permute(1, 2, 0)
    assert np.abs(found.numpy() - whole[:256, :256]).max() <= 2


@pytest.mark.rounding
@pytest.mark.parametrize("size", [(240, 320), (480, 854), (100, 60)])
def test_floats_are_resized_as_if_they_had_been_normalised_before(size):
    """`tensor_normalize`, then `random_short_side_scale_jitter` and `uniform_crop` of [6], in float64."""
    video = Noise(1, *size)
    long = max(size) * 256 // min(size)
    scaled = (256, long) if size[0] <= size[1] else (long, 256)
    image = (video.frame(0) / 255 - CLIPS_TRAINED_HERE.mean) / CLIPS_TRAINED_HERE.std
    whole = np.einsum(
        "ih,hwc,jw->cij", _build_filter(size[0], scaled[0]), image, _build_filter(size[1], scaled[1]), optimize=True
    )
    views = read_evaluation_clips(video, replace(CLIPS_TRAINED_HERE, clips=1, frames=1))
    assert views.dtype == torch.float32
    found = normalise(views, CLIPS_TRAINED_HERE)[:, :, 0].numpy()
    rest = long - 256
    for view, at in zip(found, (0, math.ceil(rest / 2), rest), strict=True):
        top, left = (0, at) if size[0] <= size[1] else (at, 0)
        np.testing.assert_allclose(view, whole[:, top : top + 256, left : left + 256], atol=2e-4)


def _build_filter(before: int, after: int) -> np.ndarray:
    """(after, before): linear interpolation between pixels' centres, of which the nearest counts beyond the last."""
    centres = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(before)))


# -- training ---------------------------------------------------------------------------------------------------------


STRIDE = ClipAugmentation(clip_frames="stride", resizing="bytes")


def drawn(video, augmentation, n=300):
    for seed in range(n):
        yield read_training_clip(video, augmentation, np.random.default_rng(seed))[0]


def test_a_training_clip_is_from_anywhere_in_the_video():
    """No resizing: what a pixel says is where it comes from."""
    augmentation = replace(STRIDE, size=16, short_side=(20, 20), frames=4, stride=3)
    starts, tops, lefts, mirrored = set(), set(), set(), 0
    for clip in drawn(Frames(30, 20, 30), augmentation):
        assert clip.shape == (3, 4, 16, 16)
        times, rows, columns = clip
        start, top = int(times[0, 0, 0]), int(rows[0, 0, 0])
        flip = bool(columns[0, 0, 0] > columns[0, 0, 1])
        left = int(columns[0, 0, -1] if flip else columns[0, 0, 0])
        # All frames and pixels of the clip are treated alike.
        assert times[:, 0, 0].tolist() == [start, start + 3, start + 6, start + 9]
        assert (rows == torch.arange(top, top + 16)[None, :, None]).all()
        expected = torch.arange(left, left + 16)
        assert (columns == (expected.flip(0) if flip else expected)).all()
        starts.add(start), tops.add(top), lefts.add(left)
        mirrored += flip
    assert starts == set(range(30 - 12 + 1))
    # As `random_crop` of [6], which leaves the last place out.
    assert tops == set(range(4))
    assert lefts == set(range(14))
    assert 110 < mirrored < 190


def test_a_training_clip_is_spread_over_its_span():
    """A video of 70 frames leaves six starts, 0 to 5: `random.uniform(0, 6)`, cut off."""
    augmentation = ClipAugmentation(size=16, short_side=(20, 20))
    times = [clip[0, :, 0, 0] for clip in drawn(Frames(70, 20, 30), augmentation)]
    assert {int(time[0]) for time in times} == set(range(6))
    assert all((time.diff() == 9).all() for time in times)


def test_resized_values_are_not_rounded_in_training():
    (clip,) = drawn(Frames(70, 20, 30), ClipAugmentation(size=24, short_side=(30, 30)), n=1)
    assert clip.dtype == torch.float32
    assert (clip[1] != clip[1].round()).any()


def test_flips_can_be_left_out():
    augmentation = ClipAugmentation(size=16, short_side=(20, 20), frames=1, stride=1, flip=0)
    for clip in drawn(Frames(3, 20, 30), augmentation, n=30):
        assert clip[2, 0, 0, 0] < clip[2, 0, 0, 1]


def test_the_short_side_is_of_any_length_between_the_two():
    """Frames of 40 x 60 pixels whose columns say where they are: the slope tells the scale."""
    augmentation = ClipAugmentation(size=40, short_side=(60, 80), frames=1, stride=1, flip=0)
    slopes = [int(clip[2, 0, 0, -1]) - int(clip[2, 0, 0, 0]) for clip in drawn(Frames(1, 40, 60), augmentation)]
    assert min(slopes) in (19, 20)  # 39 / 2
    assert max(slopes) in (26, 27)  # 39 / 1.5


def test_a_short_video_in_training():
    augmentation = replace(STRIDE, size=16, short_side=(20, 20), frames=4, stride=3)
    for clip in drawn(Frames(5, 20, 30), augmentation, n=10):
        assert clip[0, :, 0, 0].tolist() == [0, 3, 1, 4]


# -- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch():
    samples = [ClipSample(torch.full((6, 3, 2, 4, 4), i, dtype=torch.uint8), f"v{i}", 10 + i) for i in range(3)]
    batch = collate(samples).to(torch.device("cpu"))
    assert batch.clips.shape == (3, 6, 3, 2, 4, 4)
    assert batch.labels.tolist() == [10, 11, 12]
    assert batch.labels.dtype == torch.int64
    assert batch.video_ids == ["v0", "v1", "v2"]
    assert (batch.clips[2] == 2).all()


@pytest.mark.rounding
@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (5, 6, 3, 2, 4, 4)])
def test_normalised_values(shape):
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = normalise(clips, ENDS)
    assert found.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        expected = (clips.select(-4, channel).double() / 255 - mean) / std
        torch.testing.assert_close(found.select(-4, channel).double(), expected, rtol=0, atol=1e-6)
    bgr = Preprocessing(resize=1, crop=1, color="BGR", maximum=255, mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 2.0))
    found = normalise(clips, bgr)
    torch.testing.assert_close(found.select(-4, 0), clips.select(-4, 2).float() - 1)
    torch.testing.assert_close(found.select(-4, 2), (clips.select(-4, 0).float() - 3) / 2)
