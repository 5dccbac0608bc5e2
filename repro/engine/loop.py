"""The training loop of all tasks, on Lightning Fabric (devices, precision, distribution)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from repro.engine.arithmetic import uses_tf32
from repro.engine.distributed import share_weights
from repro.engine.fitted import Fitted, TrainingSegment
from repro.engine.graphs import GraphedPasses
from repro.engine.interruption import end_by_signal, postponing_signals
from repro.engine.memory import measure_peak_memory
from repro.engine.norm_statistics import recompute_norm_statistics
from repro.engine.observation import Observation, Observer
from repro.engine.passes import EagerPasses, Passes
from repro.engine.sampler import Batches, TrainingData, find_generators, load, reseed
from repro.engine.schedule import compute_learning_rate, count_iterations, count_iterations_per_epoch
from repro.engine.state import Run
from repro.errors import ReproError
from repro.experiments import Recipe
from repro.files.notices import tell
from repro.models.norm import BatchNorm


def fit(
    model: nn.Module,
    recipe: Recipe,
    dataset: TrainingData,
    *,
    identity: str,
    directory: Path,
    seed: int,
    fabric: Fabric | None = None,
    collate: Callable[[list], Any] = list,
    micro_batch: int | None = None,
    graphs: bool = False,
    workers: int = 0,
    save_every: int = 50,
    save_seconds: float | None = None,
    observation: Observation | None = None,
) -> Fitted:
    """Train `model` by `recipe`, or resume what an earlier call with the same `identity` left in `directory`.

    A training that was killed at any moment and started again ends, on CPU and with as many processes, at most two,
    with the same bytes in `weights.pt` and `log.jsonl` as an uninterrupted one. A finished training is not repeated.
    What is damaged of it is told, and trained again from the last state that is whole, or from the start. In any case
    `model` has the trained weights at the end, in every process.

    Args:
        model: in train mode, takes what `collate` returns and returns a dict of scalar loss terms, each a mean over its
            samples; their sum is minimised. Every trained parameter contributes to it, whatever the samples. The state
            dict is all the state that it keeps between iterations; the `torch.Generator`s that its modules hold as
            `generator` are seeded anew for each iteration.
        dataset: has `__len__` and `sample(index, seed=, epoch=, train=True)`, a pure function.
        identity: cache key of everything that determines the result: network, recipe, data, initial weights, seed,
            precision.
        directory: for this training alone, shared by all processes. `state` lists its files.
        fabric: already launched if it has several processes; every one of them calls `fit`. Default: one device.
            The gradients are averaged over the processes, each of which takes an equal part of `recipe.batch_size`:
            that of the effective batch, if the loss is a mean over samples. Clipping is of the averaged gradient.
            Buffers, such as running statistics, end as those of the first process; the recipe's `precise_norm` has
            batch norm's computed over the samples of all of them.
        collate: makes the model's input of a list of samples.
        micro_batch: number of samples of one forward pass; the gradients of the batch are accumulated. Default: all.
            Batch statistics are those of a micro-batch.
        graphs: whether passes are recorded as CUDA graphs and replayed (`engine.graphs`).
        workers: number of processes that load data ahead, for each training process; 0: the training process loads.
        save_every: number of iterations between two saved states.
        save_seconds: the time between two saved states, instead of a number of iterations.
        observation: what is shown and logged of it, and whether it is evaluated meanwhile.

    Raises:
        ReproError: the batch cannot be divided among the processes, the data set is empty, `directory` holds another
            training's files or cannot be written, a sample cannot be loaded, a pass cannot be recorded, or the loss or
            its gradient is not finite. What was saved stays.
        KeyboardInterrupt, SystemExit: a signal asked for the end (`engine.interruption`). In whichever process it came,
            all of them end after the same iteration, whose state is saved.
    """
    fabric = fabric or Fabric(devices=1)
    run = Run(directory, identity, writes=fabric.is_global_zero)
    if fitted := _load_result(run, model, fabric):
        return fitted
    _check(recipe, dataset, fabric)
    per_epoch = count_iterations_per_epoch(len(dataset), recipe.batch_size)
    total = count_iterations(recipe, per_epoch)
    optimizer = build_optimizer(model, recipe)
    if graphs:  # DistributedDataParallel would keep nodes of autograd that belong to another stream than a graph's
        fabric.to_device(model)
        share_weights(model, fabric)
        passes: Passes = GraphedPasses(fabric, model)
        module, stepper = model, optimizer
    else:
        module, stepper = fabric.setup(model, optimizer)
        passes = EagerPasses(fabric, module)
    with ExitStack() as stack:
        stack.enter_context(closing(run))
        chosen = fabric.broadcast(run.choose_state() if fabric.is_global_zero else None)
        position = run.restore(model, optimizer, chosen)
        position.segments.append(asdict(_describe_segment(position.iteration, fabric)))
        batches = Batches(
            len(dataset), recipe.batch_size, seed, position.iteration, total, fabric.global_rank, fabric.world_size
        )
        load_batches = partial(load, dataset, micro_batch=micro_batch, workers=workers, collate=collate)
        held = find_generators(model)
        observer = stack.enter_context(
            Observer(observation or Observation(), run, position.iteration, total, per_epoch, recipe.batch_size, fabric)
        )
        observer.evaluate(position.iteration)  # unless it was, before the interruption
        begin = time.monotonic() - position.seconds
        saved = time.monotonic()
        model.train()
        with postponing_signals() as request:
            for batch in observer.watch(load_batches(batches)):
                lr = compute_learning_rate(recipe, position.iteration, per_epoch)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                reseed(held, seed, position.iteration, fabric.global_rank)
                stepper.zero_grad()
                losses = passes.accumulate(batch)
                norm = float(_clip_gradients(fabric, module, stepper, recipe.clip_norm or math.inf))
                if not all(map(math.isfinite, (*losses.values(), norm))):
                    raise _explain_divergence(position.iteration + 1, total, losses, norm, lr)
                stepper.step()
                position.iteration += 1
                position.seconds = time.monotonic() - begin
                position.peak_memory_bytes = max(position.peak_memory_bytes, measure_peak_memory(fabric.device))
                line = {"iteration": position.iteration, "lr": lr, "losses": losses, "norm": norm}
                run.append(line)
                observer.log(line, position)
                asked = request.agree(fabric)
                due = position.iteration % save_every == 0 if save_seconds is None else _is_past(saved, save_seconds)
                if asked or (due and position.iteration < total):
                    observer.save()
                    run.save(model, optimizer, position)
                    saved = time.monotonic()
                observer.show()
                if asked:
                    if fabric.is_global_zero:
                        tell(f"{asked.name}: {directory} has the state after iteration {position.iteration} of {total}")
                    fabric.barrier()  # where one process has ended, srun ends the others, and one is still writing
                    end_by_signal(asked)
                begin += observer.evaluate(position.iteration)  # that is no time of the training
        if recipe.precise_norm:
            observer.save()
            run.save(model, optimizer, position)  # whatever ends the process from here on
            further = replace(batches, start=total, stop=total + min(recipe.precise_norm, per_epoch, total))
            parts = _load_for_statistics(load_batches(further), further, held, fabric)
            each = math.ceil(further.per_process / (micro_batch or further.per_process))
            module = fabric.setup_module(model) if graphs else module
            recompute_norm_statistics(module, parts, len(further) * each, fabric)
            position.seconds = time.monotonic() - begin
        observer.save()
        run.finish(model, position, recipe.batch_size)
    fitted = _load_result(run, model, fabric)
    if fitted is None:
        raise ReproError(f"{directory} was changed while the training ended: its result is missing")
    return fitted


def _is_past(since: float, seconds: float) -> bool:
    return time.monotonic() - since >= seconds


def _load_result(run: Run, model: nn.Module, fabric: Fabric) -> Fitted | None:
    """The result of a finished training, which the first process reads and shares; `model` has its weights in all."""
    fitted = fabric.broadcast(run.load_result(model) if fabric.is_global_zero else None)
    if fitted is not None:
        share_weights(model, fabric)
    return fitted


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimizer of the trained parameters; batch norm's may have a weight decay of their own."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained}]
    if recipe.norm_weight_decay is not None:
        layers = (module for module in model.modules() if isinstance(module, BatchNorm))
        own = {id(parameter) for layer in layers for parameter in layer.parameters()}
        norms, others = ([each for each in trained if (id(each) in own) is wanted] for wanted in (True, False))
        groups = [{"params": others}, {"params": norms, "weight_decay": recipe.norm_weight_decay}]
    decay = recipe.weight_decay
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(
        groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay
    )


def _load_for_statistics(
    loaded: Iterator[list[tuple[Any, float]]], batches: Batches, held: list[torch.Generator], fabric: Fabric
) -> Iterator[Any]:
    """The micro-batches of further iterations, on the device; what is random in them is seeded as in training."""
    for iteration, batch in zip(range(batches.start, batches.stop), loaded, strict=True):
        reseed(held, batches.seed, iteration, fabric.global_rank)
        for part, _ in batch:
            yield fabric.to_device(part)


def _clip_gradients(fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, most: float) -> Tensor:
    """Clip the norm of the gradients; returns the norm before."""
    norm = fabric.clip_gradients(module, optimizer, max_norm=most, error_if_nonfinite=False)
    assert norm is not None  # only where values are clipped instead
    return norm


def _check(recipe: Recipe, dataset: TrainingData, fabric: Fabric) -> None:
    if len(dataset) == 0:
        raise ReproError("the training data set is empty: there is nothing to train on")
    if recipe.batch_size % fabric.world_size:
        raise ReproError(
            f"a batch of {recipe.batch_size} samples cannot be divided among {fabric.world_size} processes: "
            "choose a number of processes that divides it"
        )
    if _get_precision(fabric) == "16-mixed":
        raise ReproError("precision 16-mixed cannot be resumed exactly: use bf16-mixed or 32-true")


def _describe_segment(start: int, fabric: Fabric) -> TrainingSegment:
    return TrainingSegment(start, fabric.world_size, _get_precision(fabric), fabric.device.type)


def _get_precision(fabric: Fabric) -> str:
    if fabric.device.type == "cuda" and uses_tf32() and fabric.strategy.precision.precision == "32-true":
        return "tf32"
    return fabric.strategy.precision.precision


def _explain_divergence(iteration: int, total: int, losses: dict[str, float], norm: float, lr: float) -> ReproError:
    terms = ", ".join(f"{name} = {value:g}" for name, value in losses.items())
    return ReproError(
        f"the training diverged in iteration {iteration} of {total}: {terms}; gradient norm = {norm:g}, learning rate "
        f"= {lr:g}. What was saved before stays. Check the data, or train with a lower learning rate or in "
        "precision 32-true."
    )
