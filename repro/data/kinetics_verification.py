"""Verification that a split of Kinetics-400 on disk is the official one, complete and readable."""

from __future__ import annotations

from pathlib import Path

from repro.data.kinetics import LABELS, OFFICIAL, Kinetics, Split
from repro.data.verification import DataReport, Progress, abbreviate, conclude, decode_all
from repro.data.video import UnreadableVideo
from repro.errors import ReproError


def verify_kinetics(root: Path, split: Split, *, decode: bool, progress: Progress) -> DataReport:
    """Verify counts, classes, the list against the directories, and missing videos; with `decode`, every frame."""
    report = DataReport(split, items="videos", required=OFFICIAL[split])
    try:
        data = Kinetics(root, split)
    except ReproError as error:
        report.problems.append(str(error))
        return report
    present = set(data.labels.tolist())
    report.place, report.images, report.classes = str(data.place), len(data), len(present)
    report.ids_sha256, report.annotations_sha256 = data.ids_sha256, data.annotations_sha256
    report.missing = data.missing
    if data.list_path is None:
        report.problems.append("there is no list of the split: which videos are missing cannot be told")
    elif len(data.listed) != report.required:
        report.problems.append(f"{data.list_path} has {len(data.listed)} videos, the official list {report.required}")
    if report.images != report.required:
        report.problems.append(f"{report.images} videos, the official split has {report.required}")
    if absent := [name for label, name in enumerate(LABELS) if label not in present]:
        report.problems.append(f"{abbreviate(absent)} of {len(LABELS)} classes without a video")
    wrong = [
        video_id
        for index, video_id in enumerate(data.ids)
        if data.find_directory_class(index) not in (None, int(data.labels[index]))
    ]
    if wrong:
        report.problems.append(f"{abbreviate(wrong)} in the directory of a class that the list does not give them")
    if data.unlisted:
        report.problems.append(f"files that the list does not have: {abbreviate(data.unlisted)}")

    def name_unreadable(index: int) -> tuple[str, str] | None:
        try:
            data.check(index)
        except UnreadableVideo as error:
            return error.video_id, str(error)
        return None

    if decode:
        decode_all(report, name_unreadable, range(len(data)), progress)
    return conclude(report)
