"""Records and counts as a measurement would write them, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

from repro.checkpoints import CONVERTER, initial_weights, registry
from repro.complexity import COUNTER
from repro.data import sources
from repro.data.layout import ANNOTATIONS_SHA256
from repro.data.sources import SOURCES
from repro.evaluation import EVALUATORS
from repro.experiments import EXPERIMENTS, Experiment, mini
from repro.experiments.readings import get_experiment
from repro.paper import DATASETS, Table, load_all, tolerances
from repro.planning import keys
from repro.records import Checkpoint, Cost, Count, DataSet, Metric, Record, Training, Weights, cache_key
from repro.settings import Settings

#: Exact trainable parameters of Table 2's networks by an independent closed-form count.
PARAMS = {
    "coco-r50-baseline": 44_400_693,
    "coco-r50-1nl": 46_500_405,
    "coco-r50-1snl": 45_451_318,
    "coco-r50-1gc": 44_534_006,
    "coco-r50-gc-r16": 46_922_434,
}


def record(name: str, metrics: dict[str, float], /, *, seed: int = 0, profile: str = "full", **changes) -> Record:
    """A whole, current record: all 5000 images of COCO, trained, no deviations, with
    the tolerances in force, unless `changes` say otherwise.

    Metrics that the evaluator gives beside those of `metrics` are as printed, unless `alone` is true.
    `changes` are fields of the record or of its data set; `spec_hash` defaults to the experiment's at that profile.
    `checkpoint` holds fields of the evaluated checkpoint: the record is of weights that others trained.
    """
    checkpoint = changes.pop("checkpoint", None)
    experiment = get_experiment(name, profile, changes.get("readings", {}).items())
    changes.setdefault("spec_hash", experiment.spec_hash)
    size = 5000 if profile == "full" else mini.count_items_for(experiment)[1]
    full_name, small_name = "coco-val2017", f"mini-{SOURCES[experiment.dataset].validation.removeprefix('coco-')}"
    dataset = {
        "name": full_name if profile == "full" else small_name,
        "annotations_sha256": ANNOTATIONS_SHA256["val2017"] if profile == "full" else "a" * 64,
        "ids_sha256": "b" * 64,
        "required": size,
        "expected": size,
        "evaluated": size,
        "drawn_sha256": mini.content_for(experiment) if profile == "mini" else None,
        **{key: changes.pop(key) for key in list(changes) if key in DataSet.model_fields},
    }
    given = metrics
    if not changes.pop("alone", False):
        metrics = complete(experiment, metrics, changes)
    identity = [name, seed, profile, repr(changes)]  # what another training would be
    fields = {
        "experiment": name,
        "profile": profile,
        "source": "trained",
        "engine": "torchvision",
        "seed": seed,
        "command": f"repro run {name} --seed {seed}",
        "created": "2026-01-02T03:04:05+00:00",
        "deviations": [],
        "metrics": [Metric(name=k, value=v, unit="%", n=dataset["evaluated"]) for k, v in metrics.items()],
        "evaluator": EVALUATORS[experiment.dataset],
        "predictions_sha256": cache_key(name=name, metrics=given, seed=seed, profile=profile, changes=repr(changes)),
        "weights": Weights(
            sha256=STAGE1 if name == "imagenet-r50-stage1" else cache_key(weights=identity),
            origin="trained here",
            initial_sha256=initial_sha256(experiment, seed),
        ),
        "dataset": DataSet(**dataset),
        "training": Training(
            key=training_key(experiment, seed, changes, identity),
            iterations=count_recipe(experiment),
            recipe_iterations=count_recipe(experiment),
            effective_batch=experiment.recipe.batch_size,
            learning_rate=experiment.recipe.learning_rate,
            world_size=1,
            final_loss=1.0,
        ),
        "numerics": {"precision": "32-true"},
        "environment": {"commit": "f" * 40, "dirty": False},
        "cost": Cost(train_seconds=60.0, evaluate_seconds=4.0, peak_memory_bytes=2**30, images_per_second=20.0),
        "tolerances": tolerances.load().in_force(list(metrics), dataset["name"]) if profile == "full" else None,
        **changes,
    }
    if checkpoint is not None:
        match = checkpoint.get("match", "exact")
        serving = registry.load().list_serving(name)
        entry = next((entry for entry, serves in serving if serves.match == match), None)
        made = {
            "key": "1" * 64,
            "id": entry.id if entry else "gcnet/none",
            "match": match,
            "format": "mmdetection1",
            "url": None,
            "sha256": ((entry.sha256 if entry else None) or "").ljust(64, "2"),
            "verified": True,
            "size": 1,
            "conventions": "mmdetection 1",
            "missing": [],
            "unexpected": [],
            "reshaped": [],
            **checkpoint,
        }
        fields |= {"source": "checkpoint", "training": None, "seed": 0}
        fields["weights"] = Weights(
            sha256="d" * 64, origin=f"checkpoint {made['id']}", converter=CONVERTER, checkpoint=Checkpoint(**made)
        )
        if "predictions_sha256" not in changes:
            fields["predictions_sha256"] = cache_key(of=fields["predictions_sha256"], checkpoint=made)
    if "key" not in fields:
        evaluated = made["key"] if checkpoint is not None else fields["training"].key
        parts = {"predictions": fields["predictions_sha256"], "evaluator": fields["evaluator"]}
        fields["key"] = cache_key(**parts, training=evaluated)
    return Record(**fields)


def complete(experiment: Experiment, metrics: dict[str, float], changes: dict) -> dict[str, float]:
    """`metrics` with the others that the evaluator gives beside them: as printed, where that can be."""
    usual = EVALUATORS[experiment.dataset]
    if "submitted" in changes or changes.get("evaluator", usual) != usual:
        return metrics
    rows = (row for table in load_all() for row in table.rows if row.experiment == experiment.name)
    printed = {cell.column: cell.value for row in rows for cell in row.cells if cell.unit == "%"}
    if experiment.dataset != "coco":
        top1 = metrics.get("top1", min(printed.get("top1", 0.0), metrics.get("top5", 100.0)))
        return {"top1": top1, "top5": max(printed.get("top5", 0.0), top1), **metrics}
    found = dict(metrics)
    for kind in ("box", "mask"):
        ap, ap50, ap75 = (f"{name}_{kind}" for name in ("ap", "ap50", "ap75"))
        whole = max(found.get(ap, 0.0), found.get(ap75, 0.0))
        found.setdefault(ap50, max(printed.get(ap50, 30.0), whole))
        for name in (ap, ap75):
            found.setdefault(name, min(printed.get(name, 20.0), found[ap50]))
    return found


#: sha256 of the weights that ImageNet's second stage starts from: those of a record of imagenet-r50-stage1.
STAGE1 = "5" * 64


def initial_sha256(experiment: Experiment, seed: int) -> str | None:
    """Of what the recipe says that a training starts from."""
    wanted = experiment.recipe.initial_weights
    if wanted in EXPERIMENTS:
        return STAGE1
    if wanted == "random":
        return None
    if pretrainings := mini.list_pretrainings(experiment):
        return cache_key(spec=pretrainings[-1].spec_hash, seed=seed if len(pretrainings) > 1 else 0)
    return initial_weights.get_sha256_prefix(wanted).ljust(64, "0")


def training_key(experiment: Experiment, seed: int, changes: dict, identity: list) -> str:
    """The key of the training by the recipe; where that depends on files that are not here, another for each."""
    full = experiment.profile == "full"
    data = sources.identify_official_data(experiment.dataset) if full else mini.dataset_key_for(experiment)
    settings = Settings(
        Path(),
        experiment.profile,
        seed=seed,
        engine=changes.get("engine", "torchvision"),
        compile=changes.get("numerics", {}).get("compiled", False),
        readings=experiment.readings,
    )
    return keys.training_key(experiment, settings, data) if data else cache_key(training=identity)


def count_recipe(experiment: Experiment) -> int:
    """Count the iterations of the whole recipe on the paper's data, or the mini profile's."""
    recipe, full = experiment.recipe, SOURCES[experiment.dataset].training_items
    items = mini.count_items_for(experiment)[0] if experiment.profile == "mini" else full
    return recipe.epochs * -(-items // recipe.batch_size)


def published(table: Table, name: str) -> dict[str, float]:
    """The paper's accuracy metrics of an experiment, as if they had been measured exactly."""
    dataset = next(group.dataset for group in table.groups for row in group.rows if row.experiment == name)
    assert dataset in DATASETS
    row = next(row for row in table.rows if row.experiment == name)
    return {cell.column: cell.value for cell in row.cells if cell.unit == "%"}


def count(name: str, params: int, flops: float, **changes) -> Count:
    """A count of `params` parameters and `flops` of the paper's G."""
    fields = {
        "experiment": name,
        "spec_hash": get_experiment(name, "full").spec_hash,
        "params": params,
        "macs": 268_900_000_000,
        "paper_flops": round(flops * 2**30),
        "input_shape": [3, 800, 1344],
        "counter": COUNTER,
        **changes,
    }
    return Count(**fields)
