"""The model card of weights that are exported: `README.md` as the Hugging Face hub reads it. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jinja2
import yaml

from repro import __version__, paper
from repro.checkpoints import hub_directories
from repro.experiments import Experiment, description, is_published
from repro.paper import COLUMNS, Table
from repro.paths import TEMPLATES
from repro.records import Record, Store
from repro.rendering.escaping import escape_md, flatten_lines
from repro.rendering.grid import write_signed
from repro.verification.judgement import verify_all
from repro.verification.own_rows import is_placed
from repro.verification.verdicts import CellVerdict

#: The hub's names of the tasks, by data set; and what people call those.
TASKS = {
    "coco": ("image-segmentation", "Object detection and instance segmentation"),
    "imagenet": ("image-classification", "Image classification"),
    "kinetics": ("video-classification", "Video classification"),
}
_PAPER = "arxiv:1904.11492"  # as a tag, which links a model with a paper


def list_tables(name: str) -> list[Table]:
    """List the tables of the paper in which an experiment stands, or beside whose rows one of the user's own does."""
    return [table for table in paper.load_all() if is_placed(name, table)]


def write_card(record: Record, experiment: Experiment, store: Store, license: str, sources: Sequence[str]) -> str:
    """Write the card of the weights that a record was measured with.

    Args:
        license: the hub's identifier of one.
        sources: names of the tables' files that lie beside the card.

    Raises:
        ReproError: as `verify_all`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # what is inserted is escaped for Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(md=escape_md, line=flatten_lines)
    verdicts = list_verdicts(experiment.name, store)
    return environment.get_template("model_card.md.j2").render(
        front=_write_front_matter(record, experiment, license),
        name=experiment.name,
        record=record,
        task=TASKS[experiment.dataset][1],
        network=description.describe_network(experiment),
        recipe=description.describe_recipe(experiment),
        rows=[(COLUMNS[one.name].heading, *_write_metric(record, one.name)) for one in record.metrics],
        verdicts=_write_verdicts(verdicts),
        published=is_published(experiment.name),
        layout=hub_directories,
        sources=sources,
        version=__version__,
        media={"coco": "photograph.jpg", "imagenet": "photograph.jpg", "kinetics": "video.mp4"}[experiment.dataset],
    )


def list_verdicts(name: str, store: Store) -> list[CellVerdict]:
    """List the verdicts of every cell of the paper that an experiment stands for; none of one of the user's own.

    Raises:
        ReproError: a record, the ledger or the tolerances are damaged; the file is named.
    """
    verified = verify_all(list_tables(name), store)
    rows = (row for verification in verified.verifications for row in verification.rows)
    return [cell for row in rows if row.row.experiment == name for cell in row.cells]


def _write_front_matter(record: Record, experiment: Experiment, license: str) -> str:
    """Write what the hub reads: license, tags, and the metrics as its `model-index`."""
    task = TASKS[experiment.dataset]
    content: dict[str, Any] = {
        "license": license,
        "library_name": "gcnet-repro",
        "pipeline_tag": task[0],
        "tags": ["gcnet-repro", "gcnet", f"{experiment.profile}-profile", _PAPER],
        "metrics": [metric.name for metric in record.metrics],
        "model-index": [
            {
                "name": experiment.name,
                "results": [
                    {
                        "task": {"type": task[0], "name": task[1]},
                        "dataset": {"type": record.dataset.name, "name": record.dataset.name, "split": "validation"},
                        "metrics": [
                            {"type": one.name, "name": COLUMNS[one.name].heading, "value": one.value}
                            for one in record.metrics
                        ],
                    }
                ],
            }
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _write_metric(record: Record, name: str) -> tuple[str, str]:
    metric = record.require(name)
    error = "" if metric.standard_error is None else f" ± {metric.standard_error:.2f}"
    return f"{metric.value:.2f}{error} {metric.unit}".strip(), str(metric.n)


def _write_verdicts(verdicts: Iterable[CellVerdict]) -> list[tuple[str, ...]]:
    """Write a line for each distinct number: what is printed, ours, and the rows in which it stands."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for verdict in verdicts:
        cell = verdict.cell
        delta = "-" if verdict.delta is None else write_signed(verdict.delta, cell.decimals)
        said = _join((verdict.verdict, verdict.reason, verdict.note))
        line = (COLUMNS[cell.column].heading, cell.printed, verdict.shown or "-", delta, said)
        rows.setdefault(line, []).append(f"{cell.table}{f'({cell.group})' if cell.group else ''} {cell.row}")
    return [(*line, ", ".join(where)) for line, where in rows.items()]


def _join(parts: Iterable[str]) -> str:
    return ": ".join(part for part in parts if part)
