"""Paired tests of two records from their stored predictions. What takes long to compute is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from repro.errors import ReproError
from repro.evaluation import EVALUATORS
from repro.evaluation.matches import KINDS, Matches, load_matches, match, save_matches
from repro.experiments import get, mini
from repro.records import Record, cache_key
from repro.settings import Settings
from repro.statistics.bootstrap import Replicates, compare, draw_resamples, replicate
from repro.statistics.mcnemar import Discordance, compute_interval, compute_mid_p
from repro.statistics.precision import METRICS
from repro.verification.effects import row_effects
from repro.verification.effects.row_effects import CONFIDENCE, Difference, StoredEffect

#: By the experiments' data sets. The number is raised when the same input gives another result.
_MCNEMAR = "McNemar's test, mid-p, Bonett-Price interval, 1"
METHODS = {
    "coco": "paired bootstrap of AP over images, centred percentile interval, 1",
    "imagenet": _MCNEMAR,
    "kinetics": _MCNEMAR,
}
_SHARES = {"top1": 1, "top5": 5}
_EQUAL = 1e-6  #: percent points, between what the predictions give and what is recorded


class PairedTests:
    """Of pairs of records of one results directory; what several pairs share is computed once.

    Args:
        results: the directory with records, runs and effects.
        data_root: of COCO 2017, for predictions of the full profile that have not been matched yet.
        number: of resamples.
        seed: of the resampling.
        say: called with what takes a while.
    """

    def __init__(
        self,
        results: Path,
        data_root: Path | None,
        number: int,
        seed: int,
        threads: int = 1,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.results, self.data_root = results, data_root
        self.number, self.seed, self.threads, self.say = number, seed, threads, say
        self._replicates: dict[tuple[str, str], dict[str, Replicates]] = {}

    @cached_property
    def _stored(self) -> dict[str, StoredEffect]:
        return {one.key: one for one in row_effects.load(self.results)}

    def test(self, ours: Record, theirs: Record) -> StoredEffect | str:
        """The test of a run of a row against one of its baseline, stored; or why there is none."""
        task = get(ours.experiment).dataset
        if submitted := [one.experiment for one in (ours, theirs) if one.submitted]:
            return f"{submitted[0]} was evaluated by COCO's server, which gives no results of single images"
        resampled = {"resamples": self.number, "resampling_seed": self.seed} if task == "coco" else {}
        known = {
            "predictions_sha256": (ours.predictions_sha256, theirs.predictions_sha256),
            "annotations_sha256": ours.dataset.annotations_sha256,
            "method": METHODS[task],
            "confidence": CONFIDENCE,
            **resampled,
        }
        key = cache_key(**known, evaluator=EVALUATORS[task])
        if key in self._stored:
            return self._stored[key]
        try:
            n, differences = (
                self._detectors(ours, theirs) if task == "coco" else _classifiers(self.results, ours, theirs)
            )
        except ReproError as error:
            return str(error)
        effect = StoredEffect(
            experiment=ours.experiment, baseline=theirs.experiment, profile=ours.profile, source=ours.source,
            seed=ours.seed, dataset=ours.dataset.name, n=n, differences=differences, key=key, **known,
        )  # fmt: skip
        row_effects.add(effect, self.results)
        self._stored[key] = effect
        return effect

    def _detectors(self, ours: Record, theirs: Record) -> tuple[int, tuple[Difference, ...]]:
        """(images, differences of AP, AP50 and AP75 of boxes and masks)."""
        pair = [self._replicated(one) for one in (ours, theirs)]
        found = []
        for kind in KINDS:
            for metric, one in zip(METRICS, compare(pair[0][kind], pair[1][kind], CONFIDENCE), strict=True):
                found.append(
                    Difference(
                        column=f"{metric}_{kind}", ours=one.first, baseline=one.second, difference=one.difference,
                        low=one.low, high=one.high, p=one.p,
                    )
                )  # fmt: skip
        return len(pair[0][KINDS[0]].counts), tuple(found)

    def _replicated(self, record: Record) -> dict[str, Replicates]:
        which = record.predictions_sha256, record.dataset.annotations_sha256
        if which not in self._replicates:
            matches = self._matches(record)
            self.say(f"resampling {record.experiment}, {record.profile} profile, seed {record.seed}")
            n = len(matches.image_ids)
            counts = draw_resamples(n, self.number, np.random.default_rng(self.seed))  # the same for all networks
            both = {kind: replicate(matches, kind, counts, self.threads) for kind in KINDS}
            for kind in KINDS:
                for metric, value in zip(METRICS, both[kind].whole.tolist(), strict=True):
                    _agree(record, f"{metric}_{kind}", value)
            self._replicates[which] = both
        return self._replicates[which]

    def _matches(self, record: Record) -> Matches:
        """From the file beside the predictions, which is written when it is not there.

        Raises:
            ReproError: the predictions or the annotations are missing, or others than the record's.
        """
        expected = (record.predictions_sha256, record.dataset.annotations_sha256, record.dataset.ids_sha256)
        predictions = predictions_path(self.results, record)
        path = predictions.with_name("matches.npz")
        if path.exists():
            matches = load_matches(path)
            if (matches.predictions_sha256, matches.annotations_sha256, matches.ids_sha256) == expected:
                return matches
        from repro import tasks
        from repro.evaluation.coco import load_predictions

        self.say(f"matching the predictions of {record.experiment}, {record.profile} profile, seed {record.seed}")
        detections = load_predictions(predictions, record.predictions_sha256)
        experiment = mini.get_at_profile(record.experiment, record.profile)
        settings = Settings(results=self.results, profile=record.profile, data_root=self.data_root)
        dataset = tasks.task_for(experiment, settings).validation_data
        if (dataset.annotations_sha256, dataset.ids_sha256) != expected[1:]:
            raise ReproError(
                f"{dataset.annotations_path} is not what {record.filename} was evaluated on: it has changed"
            )
        matches = match(detections, dataset, record.predictions_sha256)
        save_matches(matches, path)
        return matches


def predictions_path(results: Path, record: Record) -> Path:
    """Where a run keeps its predictions.

    Raises:
        ReproError: they are not in `results`.
    """
    name = f"{record.experiment}.{record.profile}.*.{record.measured_by[:12]}"
    found = sorted((results / "runs").glob(f"{name}/predictions.*"))
    if not found:
        raise ReproError(f"the predictions of {record.filename} are not in {results / 'runs' / name}")
    return found[0]


def _agree(record: Record, metric: str, value: float) -> None:
    """The whole way from the predictions again, before anything is concluded from it.

    Raises:
        ReproError: the record says something else.
    """
    recorded = record.metric(metric)
    if recorded is not None and abs(recorded.value - value) > _EQUAL:
        raise ReproError(f"{record.filename} says {metric} {recorded.value:.4f}; its predictions give {value:.4f}")


def _classifiers(results: Path, ours: Record, theirs: Record) -> tuple[int, tuple[Difference, ...]]:
    """(items that both were evaluated on, differences of top-1 and top-5)."""
    first, second = (_right(predictions_path(results, one), one) for one in (ours, theirs))
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ReproError(f"{ours.filename} and {theirs.filename} have no image or video in common")
    found = []
    for place, column in enumerate(_SHARES):
        right = [np.array([of[item][place] for item in common]) for of in (first, second)]
        counts = Discordance.of(*right)
        low, high = compute_interval(counts, CONFIDENCE)
        found.append(
            Difference(
                column=column, ours=100 * float(right[0].mean()), baseline=100 * float(right[1].mean()),
                difference=100 * counts.difference, low=100 * low, high=100 * high, p=compute_mid_p(counts),
                discordant=(counts.first, counts.second),
            )
        )  # fmt: skip
    return len(common), tuple(found)


def _right(path: Path, record: Record) -> dict[str, tuple[bool, ...]]:
    """Whether each image or video is right at top-1 and top-5."""
    if get(record.experiment).dataset == "imagenet":
        from repro.evaluation.topk import load_predictions

        items = ((one.image_id, one) for one in load_predictions(path, record.predictions_sha256))
    else:
        from repro.evaluation.multiview import load_scores

        items = ((one.video_id, one) for one in load_scores(path, record.predictions_sha256))
    right = {item: tuple(one.correct(k) for k in _SHARES.values()) for item, one in items}
    for place, column in enumerate(_SHARES):
        _agree(record, column, 100 * sum(one[place] for one in right.values()) / len(right))
    return right
