"""Statistics of attention over many images: those of each image, their means and standard errors."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from repro import paper
from repro.analysis.attention import Statistics, compute_statistics
from repro.analysis.images import Images, Unreadable
from repro.analysis.subjects import Subject
from repro.engine import instructions
from repro.errors import ReproError
from repro.evaluation import ATTENTION_EVALUATOR
from repro.experiments import digest
from repro.files.locks import hold_directory_lock
from repro.files.notices import tell
from repro.files.places import is_there
from repro.files.regular_files import read_regular
from repro.files.schema import FrozenModel
from repro.files.seals import parse_sealed, seal_line
from repro.paper import STATISTICS
from repro.paths import unwritable, write_atomically
from repro.records import Metric, cache_key
from repro.records.environment import describe_environment

#: The name of the mean over blocks, where a network has several.
_LIMIT = 1 << 30  #: bytes of the statistics of images; COCO's validation split has 5 MB
MEAN = "mean of blocks"


class ImageStatistics(FrozenModel):
    """The statistics of one image or clip by block."""

    image: str
    seconds: float
    blocks: dict[str, Statistics]


class Value(FrozenModel):
    """A mean over images and its standard error, s / sqrt(n); None for a single image."""

    mean: float
    standard_error: float | None
    n: int


class Survey(FrozenModel):
    """The result of `repro analyze`: `statistics.json`, made from the `images.jsonl` beside it."""

    schema_version: int = 1
    key: str
    name: str
    experiment: str | None
    profile: str | None
    weights: str
    images: str
    n: int
    failed: list[str] = []  #: items of a validation split that could not be read
    values_sha256: str  #: hash of the statistics of all images
    seconds_per_image: float
    statistics: dict[str, dict[str, Value]]  #: by block, and with several blocks MEAN; then by column of Table 1
    zeros: dict[str, dict[str, int]]  #: by block and column: zero vectors in all images, whose cosines count as 0
    positions: dict[str, tuple[int, int]]  #: by block: fewest and most query positions of an image
    not_comparable: list[str]  #: why these numbers cannot be compared with the paper's; empty if they can
    environment: dict[str, str | bool | None]

    @property
    def total(self) -> str:
        """The name of the network's statistics: that of its only block, or of the mean over all blocks."""
        return MEAN if len(self.statistics) > 1 else next(iter(self.statistics))

    def list_metrics(self, block: Literal["mean", "first", "last"] = "mean") -> list[Metric]:
        """List the network's statistics as records have them, or those of one of its blocks."""
        names = [name for name in self.statistics if name != MEAN]
        chosen = {"mean": self.total, "first": names[0], "last": names[-1]}[block]
        return [
            Metric(name=column, value=value.mean, unit="", n=value.n, standard_error=value.standard_error)
            for column, value in self.statistics[chosen].items()
        ]


def survey(
    subject: Subject, images: Images, directory: Path, device: str, progress: Callable[[str, int, int], None]
) -> tuple[Survey, Path]:
    """Compute the statistics of `subject` over `images`, and return them with their directory under `directory`.

    Images that an earlier, interrupted call has finished are not analysed again, unless the network may have changed
    unnoticed. Items of a validation split that could not be read are tried again.

    Raises:
        ReproError: an image cannot be read, or a statistic is not defined for it; the image is named.
    """
    key = cache_key(stage="attention", evaluator=ATTENTION_EVALUATOR, network=subject.key, images=images.identity)
    place = directory / f"{subject.name}.{key[:12]}"
    with hold_directory_lock(place):
        kept = place / "images.jsonl"
        if subject.key is None:
            kept.unlink(missing_ok=True)
        analysed, failed = {image.image: image for image in _read(kept)}, []
        try:
            with kept.open("ab") as file:
                for index, name in enumerate(images.names):
                    if name not in analysed:
                        try:
                            analysed[name] = _survey_image(subject, images, index)
                        except Unreadable as error:
                            failed.append((name, error))
                        else:
                            file.write(seal_line(analysed[name]))
                            file.flush()
                    progress("analysis", index + 1, len(images.names))
        except OSError as error:
            raise unwritable(kept, error) from error
        if len(failed) == len(images.names):
            raise ReproError(f"none of {images.source} can be read: {failed[0][1]}")
        ordered = [analysed[name] for name in images.names if name in analysed]
        result = _build_survey(subject, images, key, ordered, [name for name, _ in failed], device)
        write_atomically(place / "statistics.json", (result.model_dump_json(indent=1) + "\n").encode())
    return result, place


def summarise(images: Sequence[ImageStatistics]) -> dict[str, dict[str, Value]]:
    """Compute means over images and their standard errors by block and column, and those of the mean over blocks.

    The paper does not say of which of five blocks, or of what mean of them, its rows for Kinetics are. The mean over
    blocks is taken in each image first, so that its standard error reflects how the blocks of an image vary together.

    Raises:
        ReproError: the images do not have the same blocks and columns.
    """
    shape = {name: _list_columns(block) for name, block in images[0].blocks.items()}
    for image in images:
        if {name: _list_columns(block) for name, block in image.blocks.items()} != shape:
            raise ReproError(
                f"image {image.image} has other blocks or other statistics than {images[0].image}: a map is a "
                "distribution in one of them and none in the other"
            )
    result = {
        name: {column: _build_value([getattr(image.blocks[name], column) for image in images]) for column in columns}
        for name, columns in shape.items()
    }
    if len(shape) > 1:
        common = [column for column in STATISTICS if all(column in columns for columns in shape.values())]
        result[MEAN] = {
            column: _build_value(
                [_compute_mean([getattr(block, column) for block in image.blocks.values()]) for image in images]
            )
            for column in common
        }
    return result


def load_published(experiment: str | None) -> dict[str, float]:
    """Load what Table 1 prints for an experiment, by column; empty where it has no row."""
    rows = [row for row in paper.load(1).rows if row.experiment == experiment]
    return {cell.column: cell.value for row in rows for cell in row.cells if cell.column in STATISTICS}


def _survey_image(subject: Subject, images: Images, index: int) -> ImageStatistics:
    begin = time.perf_counter()
    pixels = images.pixels(index)
    try:
        blocks = {observation.block: compute_statistics(observation) for observation in subject.observe(pixels)}
    except ReproError as error:
        raise ReproError(f"image {images.names[index]}: {error}") from None
    if not blocks:
        raise ReproError(f"image {images.names[index]}: the network's function gave no observation")
    return ImageStatistics(image=images.names[index], seconds=round(time.perf_counter() - begin, 3), blocks=blocks)


def _read(path: Path) -> Iterator[ImageStatistics]:
    """Read the images of an earlier call. From the first line that is not whole on, the file is cut off.

    The user is told, unless only the last line is cut off: a process was killed while it wrote.
    """
    if not is_there(path):
        return
    whole = 0
    *lines, _ = read_regular(path, _LIMIT, "statistics of images").split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            yield parse_sealed(
                line + b"\n", ImageStatistics, f"line {number} of", path, "From here on, the images are analysed again."
            )
        except ReproError as error:
            tell(str(error))
            break
        whole += len(line) + 1
    try:
        with path.open("r+b") as file:
            file.truncate(whole)
    except OSError as error:
        raise unwritable(path, error) from error


def _build_survey(
    subject: Subject, images: Images, key: str, analysed: list[ImageStatistics], failed: list[str], device: str
) -> Survey:
    statistics = summarise(analysed)
    blocks = analysed[0].blocks
    zeros = {name: dict(sum((Counter(image.blocks[name].zeros) for image in analysed), Counter())) for name in blocks}
    return Survey(
        key=key,
        name=subject.name,
        experiment=subject.experiment.name if subject.experiment else None,
        profile=subject.experiment.profile if subject.experiment else None,
        weights=subject.weights,
        images=images.source,
        n=len(analysed),
        failed=failed,
        values_sha256=digest([image.model_dump(exclude={"seconds"}) for image in analysed]),
        seconds_per_image=_compute_mean([image.seconds for image in analysed]),
        statistics=statistics,
        zeros=zeros,
        positions={name: _find_range(image.blocks[name].positions for image in analysed) for name in blocks},
        not_comparable=_list_differences(subject, images),
        environment=describe_environment(device, instructions.describe_processor()),
    )


def _list_differences(subject: Subject, images: Images) -> list[str]:
    reasons = []
    if subject.experiment is None:
        reasons.append("the network is none of the paper's")
    elif subject.experiment.profile == "mini":
        reasons.append("mini profile: a scaled-down network and generated images")
    if not subject.trained:
        reasons.append("the weights are random")
    if subject.differs:
        reasons.append(f"the weights are of another training: {subject.differs}")
    if not images.complete:
        reasons.append("the images or videos are not the whole of the paper's validation set")
    return reasons


def _list_columns(statistics: Statistics) -> list[str]:
    return [column for column in STATISTICS if getattr(statistics, column) is not None]


def _find_range(numbers: Iterable[int]) -> tuple[int, int]:
    numbers = list(numbers)
    return min(numbers), max(numbers)


def _build_value(values: list[float]) -> Value:
    mean = _compute_mean(values)
    n = len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
    return Value(mean=mean, standard_error=None if deviation is None else deviation / math.sqrt(n), n=n)


def _compute_mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
