"""The statistics of a measured network's attention, as a record beside that of its accuracy (Section 3.2, Table 1)."""

from __future__ import annotations

from repro import tasks
from repro.analysis import subjects
from repro.analysis.survey import Survey, survey
from repro.engine import instructions
from repro.engine.devices import describe_hardware, describe_numerics, set_up_device
from repro.engine.memory import explain_memory_errors, measure_peak_memory, reset_peak_memory
from repro.errors import ReproError
from repro.evaluation import ATTENTION_EVALUATOR
from repro.evaluation.predictor import ProgressReport
from repro.experiments import Experiment, readings
from repro.measuring.record_assembly import Conditions, MeasuredNetwork, assemble_record
from repro.planning.lookup import find_attention_record
from repro.records import Cost, Record, cache_key
from repro.records.environment import describe_environment
from repro.settings import Settings


def measure_attention(record: Record, settings: Settings, *, command: str, progress: ProgressReport) -> Record:
    """The statistics of the network that `record` is of, over its validation split: an existing record, or a new one.

    The new record says of experiment, weights and training what `record` does. Its numbers are float32's whatever
    precision the network was trained or evaluated in.

    Args:
        settings: with which `record` was measured.

    Raises:
        ReproError: the weights are not here, or not those of `record`; the experiment has no non-local block; an image
            cannot be read.
    """
    if recorded := find_attention_record(settings.store.all(), record):
        return recorded
    fabric = set_up_device(settings)
    subject = subjects.load_experiment(record.experiment, settings, random=False)
    if subject.weights_sha256 != record.weights.sha256:
        raise ReproError(
            f"{record.experiment}: the weights here ({subject.weights}) are not those of record {record.filename}: "
            "they were trained on another machine. Delete the record to have these measured."
        )
    experiment = readings.get_experiment(record.experiment, settings.profile, settings.readings)
    shown = subjects.choose_images(subject, settings, limit=6 if experiment.attention.images == "six" else None)
    reset_peak_memory()
    with explain_memory_errors(
        "the analysis of attention", "It is as small as it gets: free the GPU, or use --device cpu."
    ):
        result, _ = survey(
            subject.to(fabric.device), shown, settings.results / "analysis", describe_hardware(fabric), progress
        )
    seconds = max(result.seconds_per_image * result.n, 1e-3)  # each image's are kept to the millisecond
    made = assemble_record(
        MeasuredNetwork(
            experiment=record.experiment,
            profile=record.profile,
            source=record.source,
            engine=record.engine,
            seed=record.seed,
            spec_hash=record.spec_hash,
            own=record.own,
            deviations=[*record.deviations, *_open_points(experiment, result)],
            departures=record.departures,
            readings=record.readings,
            weights=record.weights,
            training=record.training,
            complexity=record.complexity,
        ),
        Conditions(
            predictions_sha256=result.values_sha256,
            dataset=tasks.task_for(experiment, settings).describe_dataset(result.n, result.failed),
            numerics=describe_numerics(settings, accelerator=fabric.device.type)
            | {"precision": "32-true", "tf32": False},
            environment=describe_environment(describe_hardware(fabric), instructions.describe_processor()),
            cost=Cost(
                train_seconds=0.0,
                evaluate_seconds=seconds,
                peak_memory_bytes=measure_peak_memory(fabric.device),
                images_per_second=result.n / seconds,
            ),
        ),
        result.list_metrics(experiment.attention.block),
        evaluator=ATTENTION_EVALUATOR,
        command=command,
        key=cache_key(predictions=result.values_sha256, evaluator=ATTENTION_EVALUATOR, training=record.measured_by),
    )
    settings.store.add(made)
    return made


def _open_points(experiment: Experiment, result: Survey) -> list[str]:
    """What the paper leaves open of these statistics, and what was chosen."""
    chosen = ["statistics of attention over all of the validation set: the paper does not say which images it took"]
    if experiment.dataset == "kinetics":
        chosen = [
            "statistics of attention over one clip of each video of the validation set, from its middle, and the crop "
            "in its centre: the paper does not say which clips it took"
        ]
    if experiment.attention.images == "six":
        chosen = ["statistics of attention over the first six images: the paper does not say which images it took"]
    if not experiment.attention.padding:
        chosen.append("statistics of attention without the query positions in the padding of an image")
    if (blocks := len(result.positions)) > 1:
        which = {
            "mean": f"the mean over the {blocks}",
            "first": f"the first of {blocks}",
            "last": f"the last of {blocks}",
        }
        chosen.append(
            f"statistics of attention are {'of ' * (experiment.attention.block != 'mean')}"
            f"{which[experiment.attention.block]} blocks: the paper does not say of which its numbers are"
        )
    return chosen
