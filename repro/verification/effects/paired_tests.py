"""Paired tests of two records from their stored predictions. What takes long to compute is kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from repro.errors import ReproError
from repro.evaluation import EVALUATORS
from repro.evaluation.correctness import Correctness
from repro.evaluation.matches import KINDS
from repro.experiments import get, mini
from repro.records import Record, cache_key
from repro.settings import Settings
from repro.statistics.bootstrap import Replicates, compare, draw_resamples, replicate
from repro.statistics.mcnemar import Discordance, compute_interval, compute_mid_p
from repro.statistics.precision import METRICS
from repro.verification.effects import paired_effects
from repro.verification.effects.evidence import has_evidence, obtain_correctness, obtain_matches
from repro.verification.effects.paired_effects import CONFIDENCE, EQUAL, Difference, StoredEffect

if TYPE_CHECKING:
    from repro.data.coco import CocoDetection

#: By the experiments' data sets. The number is raised when the same input gives another result.
_MCNEMAR = "McNemar's test, mid-p, Bonett-Price interval, 1"
METHODS = {
    "coco": "paired bootstrap of AP over images, centred percentile interval, 2",
    "imagenet": _MCNEMAR,
    "kinetics": _MCNEMAR,
}
_SHARES = ("top1", "top5")  #: the columns of `Correctness.right`


class PairedTests:
    """Tests pairs of records of one results directory; what several pairs share is computed once.

    Args:
        results: the directory with records, runs and effects.
        data_root: where COCO 2017 is, for predictions of the full profile that have not been matched yet.
        number: how many resamples to draw.
        seed: for the resampling.
        say: called with a line about each step that takes a while.
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
        return {effect.key: effect for effect in paired_effects.load(self.results)}

    def test(self, ours: Record, theirs: Record) -> StoredEffect | str:
        """Test a run of a row against one of its baseline, and store that; or say why there is none."""
        task = get(ours.experiment).dataset
        if submitted := [record.experiment for record in (ours, theirs) if record.submitted]:
            return f"{submitted[0]} was evaluated by COCO's server, which gives no results of single images"
        predictions = (ours.predictions_sha256, theirs.predictions_sha256)
        annotations, method = ours.dataset.annotations_sha256, METHODS[task]
        resampled = {"resamples": self.number, "resampling_seed": self.seed} if task == "coco" else {}
        key = cache_key(
            predictions_sha256=predictions, annotations_sha256=annotations, method=method, confidence=CONFIDENCE,
            evaluator=EVALUATORS[task], **resampled,
        )  # fmt: skip
        if stored := self._stored.get(key):
            return stored.find_contradiction(ours, theirs) or stored
        for whose, record in (("its", ours), ("its baseline's", theirs)):
            if not has_evidence(self.results, record):
                return f"neither {whose} evidence (evidence/) nor {whose} predictions (runs/) are there"
        try:
            n, differences = (
                self._compare_detectors(ours, theirs)
                if task == "coco"
                else _compare_classifiers(self.results, ours, theirs)
            )
        except ReproError as error:
            return str(error)
        effect = StoredEffect(
            experiment=ours.experiment, baseline=theirs.experiment, profile=ours.profile, source=ours.source,
            seed=ours.seed, predictions_sha256=predictions, annotations_sha256=annotations, dataset=ours.dataset.name,
            n=n, method=method, confidence=CONFIDENCE, differences=differences, key=key, **resampled,
        )  # fmt: skip
        paired_effects.store(effect, self.results)
        self._stored[key] = effect
        return effect

    def _compare_detectors(self, ours: Record, theirs: Record) -> tuple[int, tuple[Difference, ...]]:
        """(images, differences of AP, AP50 and AP75 of boxes and masks)."""
        first, second = self._replicate(ours), self._replicate(theirs)
        differences = []
        for kind in KINDS:
            for metric, test in zip(METRICS, compare(first[kind], second[kind], CONFIDENCE), strict=True):
                differences.append(
                    Difference(
                        column=f"{metric}_{kind}", ours=test.first, baseline=test.second, difference=test.difference,
                        low=test.low, high=test.high, p=test.p,
                    )
                )  # fmt: skip
        return len(first[KINDS[0]].counts), tuple(differences)

    def _replicate(self, record: Record) -> dict[str, Replicates]:
        which = record.predictions_sha256, record.dataset.annotations_sha256
        if which not in self._replicates:
            matches = obtain_matches(self.results, record, lambda: self._open_data(record), self.say)
            self.say(f"resampling {record.experiment}, {record.profile} profile, seed {record.seed}")
            n = len(matches.image_ids)
            counts = draw_resamples(n, self.number, np.random.default_rng(self.seed))  # the same for all networks
            both = {kind: replicate(matches, kind, counts, self.threads) for kind in KINDS}
            for kind in KINDS:
                for metric, value in zip(METRICS, both[kind].whole.tolist(), strict=True):
                    _check_agreement(record, f"{metric}_{kind}", value)
            self._replicates[which] = both
        return self._replicates[which]

    def _open_data(self, record: Record) -> CocoDetection:
        """Open what a record's detector was evaluated on."""
        from repro.tasks.detection import Detection

        experiment = mini.get_at_profile(record.experiment, record.profile)
        settings = Settings(results=self.results, profile=record.profile, data_root=self.data_root)
        task = Detection(experiment, settings)
        if record.profile == "mini":  # what is there is compared with the record
            task.write_generated(task.root)
        return task.validation_data


def _check_agreement(record: Record, metric: str, value: float) -> None:
    """Check that the predictions still give the recorded number, before anything is concluded from them.

    Raises:
        ReproError: the record says something else.
    """
    recorded = record.metric(metric)
    if recorded is not None and abs(recorded.value - value) > EQUAL:
        raise ReproError(f"{record.filename} says {metric} {recorded.value:.4f}; its predictions give {value:.4f}")


def _compare_classifiers(results: Path, ours: Record, theirs: Record) -> tuple[int, tuple[Difference, ...]]:
    """(items that both were evaluated on, differences of top-1 and top-5)."""
    first, second = (_load_correctness(results, record) for record in (ours, theirs))
    common, *places = np.intersect1d(first.item_ids, second.item_ids, assume_unique=True, return_indices=True)
    if not len(common):
        raise ReproError(f"{ours.filename} and {theirs.filename} have no image or video in common")
    differences = []
    for place, column in enumerate(_SHARES):
        right = [one.right[where, place] for one, where in zip((first, second), places, strict=True)]
        counts = Discordance.count(*right)
        low, high = compute_interval(counts, CONFIDENCE)
        differences.append(
            Difference(
                column=column, ours=100 * float(right[0].mean()), baseline=100 * float(right[1].mean()),
                difference=100 * counts.difference, low=100 * low, high=100 * high, p=compute_mid_p(counts),
                discordant=(counts.first, counts.second),
            )
        )  # fmt: skip
    return len(common), tuple(differences)


def _load_correctness(results: Path, record: Record) -> Correctness:
    """Which images or videos are right, checked against what is recorded."""
    correctness = obtain_correctness(results, record, get(record.experiment).dataset)
    for place, column in enumerate(_SHARES):
        _check_agreement(record, column, 100 * float(correctness.right[:, place].mean()))
    return correctness
