"""What a record says against what its experiment, its data set and the registry of weights say. Imports no torch.

A record that says itself that it departs from the paper's recipe (`Record.departures`) contradicts nothing by that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from repro.checkpoints import initial_weights, registry
from repro.checkpoints.registry import CheckpointEntry
from repro.data.layout import ANNOTATIONS_SHA256
from repro.data.sources import SOURCES
from repro.detection.engines import ENGINES
from repro.engine.schedule import count_iterations, count_iterations_per_epoch
from repro.evaluation import EVALUATORS, is_attention, is_known
from repro.experiments import Experiment, is_defined, mini, readings
from repro.experiments.conventions import MMDETECTION_1
from repro.paper import COLUMNS, DATASETS, STATISTICS
from repro.records import Checkpoint, Record, Training
from repro.records.submission import EVALUATION_SERVER, METRICS, TEST_DEV
from repro.verification.measurements import SHARES
from repro.verification.training_keys import is_key_of

#: The second of each pair is never larger: the looser a criterion, the more fulfil it.
_AT_LEAST = (("ap50_box", "ap_box"), ("ap50_box", "ap75_box"), ("ap50_mask", "ap_mask"), ("ap50_mask", "ap75_mask"),
             ("top5", "top1"))  # fmt: skip
#: What the evaluators of accuracy give, by the experiments' data sets.
_METRICS = {
    "coco": ("ap_box", "ap50_box", "ap75_box", "ap_mask", "ap50_mask", "ap75_mask"),
    "imagenet": ("top1", "top5"),
    "kinetics": ("top1", "top5"),
}
_ACCURACIES = {name for names in _METRICS.values() for name in names}
#: No copy of Kinetics has all of its videos, so that an epoch is shorter; none that is known lacks more than this.
_PRESENT = 0.9
#: What can have been in force when it was measured: widths and deviations in percent points or as distances.
_KEPT = {"checkpoint": (0.0, 100.0), "converted": (0.0, 100.0), "retrained": (1e-6, 100.0), "freedom": (1.0, 1e4),
         "confidence": (0.5, 0.9999)}  # fmt: skip
#: What a file may lack: how many batches batch norm has seen, which no evaluation uses.
_COUNTER = ".num_batches_tracked"
#: By whose conventions files of the authors' are evaluated. By others a wider tolerance would apply.
_CONVENTIONS = {"mmdetection1": MMDETECTION_1.name}


def find_contradictions(record: Record) -> Iterator[str]:
    """Say in what a record contradicts the specification of its experiment, or what can be."""
    yield from _compare_metrics(record)
    yield from _check_tolerances(record)
    experiment = find_specification(record)
    if experiment is None:
        return
    yield from _compare_tools(record, experiment)
    yield from _compare_dataset(record, experiment)
    silent = "and it says nothing of a departure"
    if not record.departures and (precision := record.numerics.get("precision")) != "32-true":
        is_ = "not stated" if precision is None else f"{precision}, not float32"
        yield f"its precision is {is_}, {silent}"
    if not record.departures and record.numerics.get("tf32", False) is not False:
        yield f"it was computed in TF32, not float32, {silent}"
    if record.training and not record.departures:
        yield from _compare_training(record, record.training, experiment)
    if record.weights.checkpoint:
        yield from _compare_checkpoint(record.weights.checkpoint, experiment)


def find_specification(record: Record) -> Experiment | None:
    """Find the experiment as this version defines it; None if the record is of another or an older one."""
    current = readings.find_experiment(record.experiment, record.profile, record.readings.items())
    return current if current and current.spec_hash == record.spec_hash else None


def _compare_metrics(record: Record) -> Iterator[str]:
    values = {metric.name: metric.value for metric in record.metrics}
    for larger, smaller in _AT_LEAST:
        if larger in values and smaller in values and values[larger] < values[smaller] - 1e-9:
            a, b = COLUMNS[larger].heading, COLUMNS[smaller].heading
            yield f"{a} is {values[larger]:g} and below {b}, which is {values[smaller]:g}: that cannot be"
    for metric in record.metrics:
        if (error := metric.standard_error) is None or metric.name not in _ACCURACIES:
            continue
        binomial = metric.name in SHARES and metric.n > 0 and 0 <= metric.value <= 100
        right = math.sqrt(metric.value * (100 - metric.value) / metric.n) if binomial else None
        if right is None or not math.isclose(error, right, rel_tol=1e-6, abs_tol=1e-9):
            what = f"{right:g}" if right is not None else "none that is computed"
            yield f"the standard error of {COLUMNS[metric.name].heading} is {error:g}; of {metric.n} items it is {what}"
    shares = [metric.value for metric in record.metrics if metric.unit == "%"]
    if record.profile == "full" and not record.departures and shares and 0 < max(shares) <= 1:
        yield f"its accuracies are at most {max(shares):g} %: they look like fractions, not percent"


def _check_tolerances(record: Record) -> Iterator[str]:
    for rule, widths in (record.tolerances or {}).items():
        least, most = _KEPT.get(rule, (-math.inf, math.inf))  # rules of another version are not applied
        for name, width in widths.items():
            if not least <= width <= most:
                yield f"it claims that {rule} was {width:g} for {name} when it was measured, which cannot have been"


def _compare_tools(record: Record, experiment: Experiment) -> Iterator[str]:
    """Say whether it was made by libraries that this version does not know, or has what they do not give."""
    known = ENGINES if experiment.dataset == "coco" else ENGINES[:1]
    if record.engine not in known:
        yield f"its engine is {record.engine!r}; of {experiment.name} it is {' or '.join(known)}"
    if record.submitted:
        evaluated, expected = record.evaluator == EVALUATION_SERVER, EVALUATION_SERVER
    else:
        evaluated, expected = is_known(record.evaluator, experiment.dataset), EVALUATORS[experiment.dataset]
    if not evaluated:
        yield f"its evaluator is {record.evaluator!r}; of {experiment.name} it is {expected}"
    given = STATISTICS if is_attention(record.evaluator) else _METRICS[experiment.dataset]
    if others := [metric.name for metric in record.metrics if metric.name not in given]:
        yield f"it has {', '.join(others)}, which {record.evaluator} does not give of {experiment.name}"
    if lacking := _list_lacking(record, given):
        headings = ", ".join(COLUMNS[name].heading for name in lacking)
        yield f"it lacks {headings}: what was measured with the rest is part of the record, whatever it is"


def _list_lacking(record: Record, given: Sequence[str]) -> list[str]:
    """List the accuracies that an evaluator gives and the record has not; of the server, those of a task it answered.

    Statistics of attention have no verdict that one could help by leaving some of them out.
    """
    has = {metric.name for metric in record.metrics}
    if record.submitted:
        answered = [names for names in METRICS.values() if has & set(names)] or METRICS.values()
        return [name for names in answered for name in names if name not in has]
    return [] if is_attention(record.evaluator) else [name for name in given if name not in has]


def _compare_dataset(record: Record, experiment: Experiment) -> Iterator[str]:
    """Say whether its data set is another than its experiment's, or another than the one of that name."""
    data, profile = record.dataset, record.profile
    if profile == "mini":
        items = mini.count_items_for(experiment)[1]
        if data.name != (name := _name_generated(experiment)):
            yield f"its data set is {data.name}; the mini profile generates {name}"
        elif not items == data.required == data.expected == data.evaluated:
            yield f"{data.evaluated} of {data.expected} items of {data.name}: the mini profile generates {items}"
        content = mini.content_for(experiment)
        if data.drawn_sha256 is None:
            yield f"it does not say what its data are; the mini profile generates {content[:12]}..."
        elif data.drawn_sha256 != content:
            yield f"its data are {data.drawn_sha256[:12]}..., the mini profile generates {content[:12]}..."
        return
    if data.name not in DATASETS:  # which no number of the paper is of
        return
    if data.name != (name := TEST_DEV if record.submitted else SOURCES[experiment.dataset].validation):
        yield f"its data set is {data.name}, which {experiment.name} is not evaluated on so: that is {name}"
    official = DATASETS[data.name].size or SOURCES[experiment.dataset].validation_items
    if most := max((n for n in (data.expected, data.evaluated, data.required) if n > official), default=None):
        yield f"{most} {DATASETS[data.name].items} of {data.name}: the official list has {official}"
    whole = data.expected == official  # a part of it has annotations of its own, and no verdict either
    if data.name == SOURCES["coco"].validation and whole and data.annotations_sha256 != ANNOTATIONS_SHA256["val2017"]:
        yield (
            f"its annotations of {data.name} have sha256 {data.annotations_sha256[:12]}..., the official file "
            f"{ANNOTATIONS_SHA256['val2017'][:12]}...: unpack annotations_trainval2017.zip again"
        )


def _name_generated(experiment: Experiment) -> str:
    name = SOURCES[experiment.dataset].validation
    return f"mini-{name.removeprefix('coco-')}"


def _compare_training(record: Record, training: Training, experiment: Experiment) -> Iterator[str]:
    recipe = experiment.recipe
    silent = "and it says nothing of a departure"
    if training.effective_batch != recipe.batch_size:
        yield f"its batch is {training.effective_batch}, the recipe's {recipe.batch_size}, {silent}"
    if abs(training.learning_rate - recipe.learning_rate) > 1e-9 * recipe.learning_rate:
        yield f"its learning rate is {training.learning_rate:g}, the recipe's {recipe.learning_rate:g}, {silent}"
    if others := {segment.precision for segment in training.segments} - {"32-true"}:
        yield f"it was trained with precision {', '.join(sorted(others))}, not float32, {silent}"
    if training.iterations != training.recipe_iterations:
        yield f"it was trained for {training.iterations} of {training.recipe_iterations} iterations, {silent}"
    yield from _compare_length(record.profile, training, experiment)
    yield from _compare_start(record.weights.initial_sha256, experiment)
    if record.engine in ENGINES and not is_key_of(training.key, record, experiment):
        yield (
            "its training key is not what this version makes of its recipe, data, initial weights and seed: one of "
            "them was another, or another version trained it"
        )


def _compare_length(profile: str, training: Training, experiment: Experiment) -> Iterator[str]:
    source, recipe = SOURCES[experiment.dataset], experiment.recipe
    items = mini.count_items_for(experiment)[0] if profile == "mini" else source.training_items
    least = items * _PRESENT if source.validation == "kinetics-val" and profile == "full" else items
    longest, shortest = (
        count_iterations(recipe, count_iterations_per_epoch(int(n), recipe.batch_size)) for n in (items, least)
    )
    if not shortest <= training.recipe_iterations <= longest:
        yield (
            f"its recipe has {training.recipe_iterations} iterations; {recipe.epochs} epochs of {items} "
            f"{source.items} are {longest}"
        )


def _compare_start(initial: str | None, experiment: Experiment) -> Iterator[str]:
    """Say whether it starts from other weights than the recipe says; those trained here are compared elsewhere."""
    wanted = experiment.recipe.initial_weights
    if is_defined(wanted):
        return
    if wanted in mini.PRETRAINED:
        if initial is None:
            yield f"it starts from random weights, the recipe from those of the mini profile's {wanted}"
        return
    prefix = None if wanted == "random" else initial_weights.get_sha256_prefix(wanted)
    if prefix is None and initial is not None:
        yield f"it starts from weights with sha256 {initial[:12]}..., the recipe from random ones"
    elif prefix is not None and not (initial or "").startswith(prefix):
        begin = f"weights with sha256 {initial[:12]}..." if initial else "random weights"
        yield f"it starts from {begin}, the recipe from {wanted}, whose sha256 begins with {prefix[:12]}"


def _compare_checkpoint(checkpoint: Checkpoint, experiment: Experiment) -> Iterator[str]:
    known = {entry.id: entry for entry in registry.load().entries}
    entry = known.get(checkpoint.id)
    if entry is None:
        if checkpoint.match == "exact":
            yield f"claims the authors' weights, but checkpoints.yaml has no {checkpoint.id}"
        return
    serves = entry.find_service(experiment.name)
    if serves is None or serves.match != checkpoint.match:
        how = f"{serves.match} for" if serves else "not of"
        yield f"claims that {checkpoint.id} is {checkpoint.match} for {experiment.name}; it is {how} this experiment"
    yield from _compare_file(checkpoint, entry)
    if checkpoint.match == "exact":
        yield from _compare_framework(checkpoint, entry)


def _compare_file(checkpoint: Checkpoint, entry: CheckpointEntry) -> Iterator[str]:
    if entry.digest and not checkpoint.verified:
        yield f"its file of {checkpoint.id} was not checked against the published hash"
    if entry.sha256 and not checkpoint.sha256.startswith(entry.sha256):
        published = entry.sha256[:12]
        yield f"its file has sha256 {checkpoint.sha256[:12]}..., that of {checkpoint.id} begins with {published}"
    if lacking := [key for key in checkpoint.missing if not key.endswith(_COUNTER)]:
        yield f"its file lacks {len(lacking)} weights of the network, {lacking[0]} first"


def _compare_framework(checkpoint: Checkpoint, entry: CheckpointEntry) -> Iterator[str]:
    """Say whether the authors' weights were read, or evaluated, as those of another framework."""
    if checkpoint.format != entry.format:
        yield f"its file was read as {checkpoint.format}; {entry.id} is of the format {entry.format}"
    conventions = _CONVENTIONS.get(entry.format, checkpoint.conventions)
    if checkpoint.conventions != conventions:
        yield f"it was evaluated by the conventions of {checkpoint.conventions}; {entry.id} is of {conventions}"
