"""Numbers from COCO's evaluation server: the record that its answer becomes.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from repro import paper
from repro.errors import ReproError
from repro.experiments import get, readings
from repro.files.json_files import RepeatedKey, load_json
from repro.files.text_files import read_text
from repro.measuring.record_assembly import Conditions, MeasuredNetwork, assemble_record, find_complexity
from repro.records import Metric, Record, Store, Submitted
from repro.records.submission import (
    EVALUATION_SERVER,
    METRICS,
    SUBMISSION_FILE,
    TEST_DEV,
    Submission,
    link_answers,
    load_submission,
    make_answer_key,
)

_LIMIT = 1 << 20  # bytes of an answer, which has a dozen numbers


def read_metrics(path: Path) -> dict[str, float]:
    """The answer as a JSON object: a number in percent by column of the published tables.

    Raises:
        ReproError: it cannot be read, is something else, names a metric twice, or as of `check_metrics`; the file is
            named.
    """

    text = read_text(path, _LIMIT, "metrics")
    try:
        content = load_json(text)
    except RepeatedKey as error:
        raise ReproError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ReproError(f'{path} is not JSON such as {{"ap_box": 45.0}}: {error}') from None
    if not isinstance(content, dict) or not all(type(value) in (int, float) for value in content.values()):
        raise ReproError(f'{path} must be a JSON object of numbers such as {{"ap_box": 45.0}}')
    try:
        metrics = {name: float(value) for name, value in content.items()}
    except OverflowError:
        raise ReproError(f"{path} holds a number that is no percentage: it has hundreds of digits") from None
    try:
        check_metrics(metrics)
    except ReproError as error:
        raise ReproError(f"{path}: {error}") from None
    return metrics


def check_metrics(metrics: Mapping[str, float]) -> None:
    """Whether numbers can be the server's answer to one or both submissions.

    Raises:
        ReproError: there are none, one is unknown, missing beside its fellows, no percentage, or contradicts another.
    """
    known = [name for names in METRICS.values() for name in names]
    if not metrics:
        raise ReproError(f"no metrics: give the server's answer in percent, {', '.join(known)}")
    for name, value in metrics.items():
        if name not in known:
            raise ReproError(f"metric {name[:100]!r} is none that the table has: {', '.join(known)}")
        if not 0 <= value <= 100:  # NaN is not either
            raise ReproError(f"{name}: {value} is no percentage")
        if 0 < value <= 1:
            raise ReproError(f"{name}: {value:g} looks like a fraction; the table is in percent: {100 * value:g}")
    for task, names in METRICS.items():
        missing = [name for name in names if name not in metrics]
        if 0 < len(missing) < len(names):
            raise ReproError(f"{missing[0]} is missing: the server answers {', '.join(names)} to a {task} submission")
        if not missing:
            ap, ap50, ap75 = (metrics[name] for name in names)
            if ap50 < max(ap, ap75):
                raise ReproError(
                    f"{names[1]} of {ap50:g} cannot be less than {names[0]} of {ap:g} or {names[2]} of {ap75:g}: a "
                    "match at a higher IoU is one at 0.50 too. Are two of them exchanged?"
                )


def record_answer(name: str, directory: Path, metrics: Mapping[str, float], store: Store, *, command: str) -> Record:
    """Enter the server's answer to a submission of experiment `name`, and return the record.

    What was entered before for the same submission stands where it is not given again.

    Args:
        directory: that `repro submit` wrote.
        metrics: in percent, by column of the published tables; all three of a task.

    Raises:
        ReproError: the paper has no such row, there is no submission, it is another experiment's, of another version's
            network, not of all of test-dev, of the other task alone, or its files were changed; or as of
            `check_metrics`.
    """
    experiment = get(name)
    if name not in (rows := _list_test_dev_experiments()):
        raise ReproError(f"the paper has no number of {name} on test-dev; it has of {', '.join(rows)}")
    check_metrics(metrics)
    submission = load_submission(directory)
    if submission is None:
        raise ReproError(f"{directory} holds no {SUBMISSION_FILE}: name the directory that `repro submit {name}` wrote")
    where = directory / SUBMISSION_FILE
    if submission.experiment != name:
        raise ReproError(f"{where} is of {submission.experiment}, not of {name}")
    if submission.spec_hash != readings.apply(experiment, submission.readings.items()).spec_hash:
        raise ReproError(f"{where} is of another version's network or recipe of {name}; submit again")
    size = paper.DATASETS[TEST_DEV].size
    if submission.dataset.name != TEST_DEV or submission.dataset.evaluated != size:
        raise ReproError(
            f"{where} is of {submission.dataset.evaluated} images of {submission.dataset.name}; the paper's numbers "
            f"are of all {size} of {TEST_DEV}"
        )
    for task, names in METRICS.items():
        if task not in submission.archives and any(metric in metrics for metric in names):
            raise ReproError(
                f"{where} is of {', '.join(submission.archives)} alone: no server can have answered {task}"
            )
    submission.check_archives(directory)
    before = _find_earlier_answer(store, submission)
    known = {metric.name: metric.value for metric in before.metrics} if before else {}
    metrics = {**known, **metrics}
    if before and metrics == known:
        return before
    made = assemble_record(
        MeasuredNetwork(
            experiment=submission.experiment,
            profile="full",
            source=submission.source,
            engine=submission.engine,
            seed=submission.seed,
            spec_hash=submission.spec_hash,
            own=None,
            deviations=submission.deviations,
            departures=submission.departures,
            readings=submission.readings,
            weights=submission.weights,
            training=submission.training,
            complexity=find_complexity(store, submission.spec_hash),
        ),
        Conditions(
            predictions_sha256=submission.predictions_sha256,
            predictions_file_sha256=submission.predictions_file_sha256,
            dataset=submission.dataset,
            numerics=submission.numerics,
            environment=submission.environment,
            cost=submission.cost,
        ),
        [
            Metric(name=metric, value=metrics[metric], unit="%", n=submission.dataset.evaluated)
            for names in METRICS.values()
            for metric in names
            if metric in metrics
        ],
        evaluator=EVALUATION_SERVER,
        command=command,
        submitted=Submitted(
            key=submission.key, files={task: archive.sha256 for task, archive in submission.archives.items()}
        ),
        # A number that was corrected to and fro is entered each time.
        key=make_answer_key(submission.key, metrics, before.key if before else None),
    )
    store.add(made)
    return made


def _find_earlier_answer(store: Store, submission: Submission) -> Record | None:
    """Find the record of the answer to the same submission that no other replaces."""
    earlier = [record for record in store.all() if record.submitted and record.submitted.key == submission.key]
    links = link_answers(earlier)
    return next((record for record in earlier if record.key in links.keys() - set(links.values())), None)


def _list_test_dev_experiments() -> list[str]:
    """Experiments of which the paper has numbers on test-dev."""
    rows = [
        row for table in paper.load_all() for group in table.groups if group.dataset == TEST_DEV for row in group.rows
    ]
    return list(dict.fromkeys(row.experiment for row in rows))
