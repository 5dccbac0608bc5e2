"""Passes of a training that are recorded as CUDA graphs and replayed: the host starts one thing instead of a thousand.

A pass of few images takes a GPU less time than the host needs to start its operators one by one; it then waits for the
host (`benchmarks/gpu.md`). A graph is recorded for each shape of micro-batch. It is the same kernels on the same
memory, so that inputs are copied into tensors of its own and gradients are added to tensors that stay. What Python
decides in a pass is decided once, when it is recorded.

`torch.cuda.make_graphed_callables` records forward and backward passes apart and takes and returns tensors alone;
torch.compile's graphs come with its own arithmetic.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from repro.engine.arithmetic import uses_tf32
from repro.engine.passes import Batch, average_terms, move
from repro.engine.sampler import find_generators
from repro.errors import ReproError
from repro.files.notices import tell
from repro.models import fused

#: Shapes of micro-batches, each of which keeps the memory of a pass: a batch has two at most, if the last is smaller.
_MOST_SHAPES = 4
#: How far a replayed pass may be from an ordinary one, in float32 and with products in TF32 or bf16: libraries may
#: choose another algorithm. Rounding came to 2e-4, 0.1, 5e-4 and 0.03 in float32, and to 0.2, 1.8, 0.4 and 0.6 in bf16;
#: other images to 4 in the first, other labels to 0.8 in the third (`benchmarks/recorded_passes.md`).
_OUTCOMES, _COARSE_OUTCOMES = 1e-2, 0.5
_GRADIENTS, _COARSE_GRADIENTS = 0.5, math.inf
_NEAREST = 0.5
_NORMS = 0.9
_WITHOUT = "Leave out --cuda-graphs."


class Recorder:
    """Records on one GPU; what is recorded shares one pool of memory, for nothing in it outlives a replay."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        """Record what `compute` starts, which was executed before; returns what starts it again.

        Raises:
            RuntimeError: it waits for the GPU, or sends something to it, which no graph can.
        """
        with torch.cuda.device(self.device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries that are used for the first time allocate and compile
                compute()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Whatever other threads do with CUDA meanwhile does not end it, as it would in the default mode.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                compute()
        return graph.replay


@dataclass
class _Computed:
    """What one pass computes."""

    gradients: list[Tensor]
    others: list[Tensor]  #: loss terms and buffers


@dataclass(frozen=True)
class _Distance:
    """The largest |difference| / |expected| of the tensors of two passes."""

    outcomes: float  #: loss terms and running statistics; infinite where counters differ
    gradients: float  #: those of less than a thousandth of the largest one's norm are compared with that
    nearest: float  #: the smallest of a gradient
    norms: float  #: of the gradients

    def __str__(self) -> str:
        return (
            f"by {self.outcomes:.1e} in loss or running statistics, {self.nearest:.1e} to {self.gradients:.1e} in "
            f"gradients, {self.norms:.1e} in their norms"
        )


@dataclass
class _Recorded:
    inputs: list[Tensor]
    start: Callable[[], None]

    def replay(self, tensors: list[Tensor]) -> None:
        for own, given in zip(self.inputs, tensors, strict=True):
            own.copy_(given, non_blocking=True)
        self.start()


class GraphedPasses:
    """Passes of `model` that are recorded once for each shape of micro-batch, and replayed.

    The gradients of several processes are averaged after the last pass of a batch, all in one.

    Args:
        model: on its device, in train mode, with the weights that the training begins from; not wrapped for several
            processes. Its batches are dataclasses whose tensors are fields.

    Raises:
        ReproError: it has batch norm that is synchronised over processes, or random generators of its own.
    """

    def __init__(self, fabric: Fabric, model: nn.Module) -> None:
        if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
            raise ReproError(f"batch norm that waits for other processes cannot be recorded. {_WITHOUT}")
        if find_generators(model):
            raise ReproError(f"a layer draws from a random generator of its own, which is not recorded. {_WITHOUT}")
        self.fabric, self.model = fabric, model
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.names, self.parameters = list(trained), list(trained.values())
        self.gradients = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.terms: dict[str, Tensor] = {}
        self.recorder = Recorder(fabric.device)
        self.recorded: dict[Hashable, _Recorded] = {}

    def accumulate(self, batch: Batch) -> dict[str, float]:
        """As `Passes.accumulate`.

        Raises:
            ReproError: a pass cannot be recorded, or what it computes differs when it is replayed.
        """
        torch._foreach_zero_([*self.gradients, *self.terms.values()])
        for part, share in batch:
            moved = move(self.fabric, part)
            tensors = _list_tensors(moved)
            key = share, *((name, each.shape, each.dtype, each.stride()) for name, each in tensors.items())
            if key not in self.recorded:
                self.recorded[key] = self._record(moved, share)
            self.recorded[key].replay(list(tensors.values()))
        self._average_gradients()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return average_terms(self.fabric, self.terms, torch.stack(list(self.terms.values())))

    def _compute(self, batch: Any, share: float) -> None:
        """A pass, whose gradients and loss terms are added to those of the passes before."""
        with fused.free_launches():
            with self.fabric.autocast():
                losses = self.model(batch)
            gradients = torch.autograd.grad(sum(losses.values()) * share, self.parameters, allow_unused=True)
            if unused := [name for name, gradient in zip(self.names, gradients, strict=True) if gradient is None]:
                raise ReproError(f"the loss does not depend on {', '.join(unused)}, which is to be trained. {_WITHOUT}")
            torch._foreach_add_(self.gradients, gradients)
            for name, term in losses.items():
                total = self.terms.setdefault(name, torch.zeros((), device=term.device))
                total.add_(term.detach().float() * share)

    def _average_gradients(self) -> None:
        """As DistributedDataParallel does it: divided, and then added up over the processes."""
        if self.fabric.world_size == 1:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in self.gradients]).div_(self.fabric.world_size)
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in self.gradients])
        for gradient, part in zip(self.gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _record(self, batch: Any, share: float) -> _Recorded:
        if len(self.recorded) == _MOST_SHAPES:
            raise ReproError(f"batches have more than {_MOST_SHAPES} shapes, and each would be recorded. {_WITHOUT}")
        own = replace(batch, **{name: tensor.clone() for name, tensor in _list_tensors(batch).items()})
        inputs = list(_list_tensors(own).values())

        def compute() -> None:
            self._compute(own, share)

        with self._keeping_state():
            before = _read_host_generators(self.fabric.device)
            compute()  # to find out what it needs
            if _read_host_generators(self.fabric.device) != before:
                raise ReproError(
                    f"the network draws random numbers on the host, which a recorded pass would repeat. {_WITHOUT}"
                )
            try:
                recorded = _Recorded(inputs, self.recorder.record(compute))
            except RuntimeError as error:
                first = error.__context__ or error  # where that ended the recording, ending it is another error
                if isinstance(first, torch.OutOfMemoryError):
                    raise first from None
                reason = str(first).partition("\n")[0]
                raise ReproError(
                    f"a pass of this network cannot be recorded as a CUDA graph: {reason}. {_WITHOUT}"
                ) from error
        with self._without_zeros():
            self._compare(recorded, compute)
        if self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()  # of the ordinary passes: the graph has memory of its own
        return recorded

    @contextmanager
    def _without_zeros(self) -> Iterator[None]:
        """Have small random numbers in the parameters that are zero: what lies before them would get no gradient."""
        with torch.no_grad(), self._keeping_generators():
            zero = {parameter: parameter.clone() for parameter in self.parameters if not parameter.any()}
            for parameter in zero:
                parameter.uniform_(-0.1, 0.1)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, before in zero.items():
                    parameter.copy_(before)

    def _compare(self, recorded: _Recorded, compute: Callable[[], None]) -> None:
        """Compare a replayed pass with two ordinary ones, on other values than it was recorded with.

        Raises:
            ReproError: its gradients, loss or running statistics are not those.
        """
        other = [_alter(tensor) for tensor in recorded.inputs]
        for own, altered in zip(recorded.inputs, other, strict=True):
            own.copy_(altered)
        first, again = self._try(compute), self._try(compute)
        off = _measure_distance(self._try(lambda: recorded.replay(other)), first)
        noise = _measure_distance(again, first)
        coarse = uses_tf32() or self.fabric.strategy.precision.precision != "32-true"
        limits = _Distance(
            max(_COARSE_OUTCOMES if coarse else _OUTCOMES, 3 * noise.outcomes),
            max(_COARSE_GRADIENTS if coarse else _GRADIENTS, 3 * noise.gradients),
            max(_NEAREST, 3 * noise.nearest),
            max(_NORMS, 3 * noise.norms),
        )
        if any(one > most for one, most in zip(astuple(off), astuple(limits), strict=True)):
            raise ReproError(
                f"a replayed pass differs from an ordinary one {off}; two ordinary ones {noise}. {_WITHOUT}"
            )
        if self.fabric.is_global_zero:
            same = not any(astuple(off))
            found = "has the bits of an ordinary one" if same else f"differs from an ordinary one {off}"
            tell(f"a pass was recorded as a CUDA graph; replayed, it {found}; two ordinary ones differ {noise}")

    def _try(self, start: Callable[[], None]) -> _Computed:
        """What a pass from the present state computes; the state stays."""
        with self._keeping_state():
            torch._foreach_zero_([*self.gradients, *self.terms.values()])
            start()
            others = *self.terms.values(), *self.model.buffers()
            return _Computed(*([tensor.clone() for tensor in part] for part in (self.gradients, others)))

    def _list_state(self) -> list[Tensor]:
        """All that a pass changes."""
        return [*self.gradients, *self.terms.values(), *self.model.buffers()]

    @contextmanager
    def _keeping_state(self) -> Iterator[None]:
        """Have all that passes change within as it was before, the random generators, too."""
        before = {id(tensor): tensor.clone() for tensor in self._list_state()}
        with self._keeping_generators():
            yield
        with torch.no_grad():
            for tensor in self._list_state():
                if id(tensor) in before:
                    tensor.copy_(before[id(tensor)])
                else:
                    tensor.zero_()  # a loss term that had no name before

    @contextmanager
    def _keeping_generators(self) -> Iterator[None]:
        device = self.fabric.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield


def _list_tensors(batch: Any) -> dict[str, Tensor]:
    """The tensors of a batch, by their field."""
    assert is_dataclass(batch), "as the batches of classifiers are"
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _alter(tensor: Tensor) -> Tensor:
    """Other values of the same kind: images mirrored and darker; of all else every sample has the first one's."""
    if tensor.dim() <= 3:
        return tensor[:1].expand_as(tensor).clone()
    return (tensor // 2 if tensor.dtype == torch.uint8 else tensor / 2).flip(-1)


def _read_host_generators(device: torch.device) -> tuple[Any, ...]:
    """The states of the host's global random generators, of which the CPU's is the device's own on a CPU."""
    of_numpy = repr(np.random.get_state(legacy=False))  # noqa: NPY002 - on purpose the global one
    of_torch = b"" if device.type == "cpu" else torch.get_rng_state().numpy().tobytes()
    return random.getstate(), of_numpy, of_torch


def _measure_distance(found: _Computed, expected: _Computed) -> _Distance:
    """How far apart two passes are. What is not finite counts as 0, and ends the training anyway."""
    differences, own, norms = _measure_norms(found.gradients, expected.gradients)
    least = 1e-3 * max(norms, default=0.0)  # some gradients are rounding alone
    outcomes = [0.0]
    for one, other in zip(found.others, expected.others, strict=True):
        if one.is_floating_point():
            (difference,), _, (norm,) = _measure_norms([one], [other])
            outcomes.append(_divide(difference, norm))
        elif not torch.equal(one, other):
            outcomes.append(math.inf)
    gradients = [_divide(one, max(norm, least)) for one, norm in zip(differences, norms, strict=True)]
    known = [one for one, norm in zip(gradients, norms, strict=True) if norm >= least]
    return _Distance(
        max(outcomes),
        max(gradients),
        min(known),
        max(_divide(abs(one - norm), max(norm, least)) for one, norm in zip(own, norms, strict=True)),
    )


def _divide(difference: float, norm: float) -> float:
    return 0.0 if difference == 0 else difference / norm if norm else math.inf


def _measure_norms(found: Sequence[Tensor], expected: Sequence[Tensor]) -> tuple[list[float], ...]:
    """The norms of the differences, of what was found, and of what was expected."""
    pairs = [[one.float().nan_to_num(0, 0, 0) for one in pair] for pair in zip(found, expected, strict=True)]
    triples = torch.stack([torch.stack([(a - b).norm(), a.norm(), b.norm()]) for a, b in pairs])
    return tuple(triples.T.tolist())
