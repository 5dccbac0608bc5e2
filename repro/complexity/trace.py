"""Counts the operations of a module by tracing one forward pass, without computing it on the meta device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from repro.complexity.convention import Operations
from repro.complexity.handles import analyse
from repro.complexity.tree import Counted


def count(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> Counted:
    """Count the operations and parameters of `model` in `model(*inputs)`, from one trace.

    A model on the meta device is traced without computing anything; anywhere else the forward pass is executed. Call
    `model.eval()` first where training differs. Operators that no handle knows are listed in `uncounted`. Exceptions
    of the forward pass and of torch's tracer are not caught.

    >>> import torch
    >>> from repro.complexity import count
    >>> with torch.device("meta"):
    ...     model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, kernel_size=3), torch.nn.ReLU()).eval()
    ...     counted = count(model, torch.empty(1, 3, 10, 10))
    >>> counted.params, counted.macs  # 8 * 27 + 8; 8 * 8 output positions of 8 * 27 products
    (224, 13824)
    >>> counted.paper_flops - counted.macs  # the bias and the ReLU of 8 * 8 * 8 elements
    1024
    """
    return build_tree(model, trace_operations(model, inputs))


def trace_operations(model: nn.Module, inputs: Tensor | tuple[Tensor, ...]) -> dict[nn.Module, Operations]:
    """Trace what `model` and each of its submodules perform themselves, outside their submodules, in a forward pass."""
    analysed = analyse(model, inputs)
    hook = model.register_forward_hook(_keep_results)
    try:
        with torch.no_grad(), _NamedConversions() as conversions, _RecordedConvolutions():
            ingredients = analysed.by_module_and_operator()
    finally:
        hook.remove()
    performed = {name: _split(counts, analysed.unsupported_ops(name)) for name, counts in ingredients.items()}
    own = {name: (Counter(counts), Counter(unknown)) for name, (counts, unknown) in performed.items()}
    own[""][1].update(conversions.named)
    for name, (counts, unknown) in performed.items():
        if name:
            above = own[name.rpartition(".")[0]]
            above[0].subtract(counts)
            above[1].subtract(unknown)
    return {model.get_submodule(name): Operations(+counts, +unknown) for name, (counts, unknown) in own.items()}


def _keep_results(*_: object) -> None:
    """Make every number that is computed an output of the trace: torch drops from it what leads to no output."""
    graph = torch._C._get_tracing_state().graph()
    for node in list(_walk(graph)):
        for value in node.outputs():
            if value.isCompleteTensor() and _is_number(value.type().dtype()):
                graph.registerOutput(value)


def _is_number(dtype: torch.dtype) -> bool:
    """Tell numbers of the network from sizes, which the tracer computes as whole numbers."""
    return dtype.is_floating_point or dtype.is_complex


def _walk(block: Any) -> Iterator[Any]:
    """List every node of a graph, those of the submodules too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _walk(inner)


def _split(counts: Mapping[str, int], without_handle: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Split what `analyse` counted into ingredients and operators that are not counted."""
    ingredients = Counter({name: number for name, number in counts.items() if "::" not in name})
    unknown = Counter({name: number for name, number in counts.items() if "::" in name})
    return ingredients, unknown + Counter(without_handle)


def build_tree(model: nn.Module, own: Mapping[nn.Module, Operations]) -> Counted:
    """Build the tree of `model` from what each module performs itself. Modules that `own` lacks perform nothing."""
    return _build_node("", model, own, set())


def _build_node(name: str, module: nn.Module, own: Mapping[nn.Module, Operations], seen: set[nn.Module]) -> Counted:
    seen.add(module)
    children = tuple(
        _build_node(child_name, child, own, seen) for child_name, child in module.named_children() if child not in seen
    )
    performed = own.get(module, Operations())
    return Counted(
        name=name,
        kind=type(module).__name__,
        params=count_parameters(module),
        operations=sum((child.operations for child in children), performed),
        own_params=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
        own=performed,
        children=children,
    )


def count_parameters(model: nn.Module) -> int:
    """Count the learnable parameters, each once, with those of stages that a recipe freezes."""
    return sum(parameter.numel() for parameter in model.parameters())


class _NamedConversions(TorchFunctionMode):
    """Names what hands tensors on to numpy: what is computed with them there is not traced."""

    def __init__(self) -> None:
        super().__init__()
        self.named: Counter[str] = Counter()

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (Tensor.numpy, Tensor.__array__, Tensor.__dlpack__):
            self.named[f"Tensor.{func.__name__}"] += 1
        return func(*args, **(kwargs or {}))


#: (dimensions, whether transposed)
_CONVOLUTIONS: dict[Callable, tuple[int, bool]] = {
    F.conv1d: (1, False),
    F.conv2d: (2, False),
    F.conv3d: (3, False),
    F.conv_transpose1d: (1, True),
    F.conv_transpose2d: (2, True),
    F.conv_transpose3d: (3, True),
}


class _RecordedConvolutions(TorchFunctionMode):
    """Makes the JIT tracer record convolutions of meta tensors.

    It records `aten::_convolution` but not `aten::convolution`, which calls the former on the CPU. The meta kernel of
    the latter does not, and fails under tracing because it sees sizes as tensors.
    """

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _CONVOLUTIONS and (args[0] if args else kwargs["input"]).is_meta:
            dimensions, transposed = _CONVOLUTIONS[func]
            return (_convolve_transposed if transposed else _convolve)(dimensions, *args, **kwargs)
        return func(*args, **kwargs)


def _convolve(dimensions, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    if padding == "valid":
        padding = 0
    elif padding == "same":
        input, padding = _pad_to_keep_size(dimensions, input, weight, dilation), 0
    return _record(dimensions, False, input, weight, bias, stride, padding, 0, dilation, groups)


def _pad_to_keep_size(dimensions: int, input: Tensor, weight: Tensor, dilation: int | tuple[int, ...]) -> Tensor:
    missing = [
        step * (int(size) - 1) for step, size in zip(_repeat(dilation, dimensions), weight.shape[2:], strict=True)
    ]
    return F.pad(input, [side for total in reversed(missing) for side in (total // 2, total - total // 2)])


def _convolve_transposed(
    dimensions, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    return _record(dimensions, True, input, weight, bias, stride, padding, output_padding, dilation, groups)


def _record(dimensions, transposed, input, weight, bias, stride, padding, output_padding, dilation, groups) -> Tensor:
    stride, padding, output_padding, dilation = (
        _repeat(value, dimensions) for value in (stride, padding, output_padding, dilation)
    )
    cudnn = (False, False, False, False)  # benchmark, deterministic, enabled, TF32: nothing is computed

    def convolve(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return torch._convolution(
            input, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *cudnn
        )

    batch = input if input.dim() == dimensions + 2 else input.unsqueeze(0)
    output = _convolve_complex(convolve, batch, weight, bias) if input.is_complex() else convolve(batch, weight, bias)
    return output if batch is input else output.squeeze(0)


def _convolve_complex(convolve: Callable[..., Tensor], *operands: Tensor | None) -> Tensor:
    """Convolve complex numbers by three convolutions of real ones, as torch does on other devices."""
    real = [operand if operand is None else operand.real for operand in operands]
    imaginary = [operand if operand is None else operand.imag for operand in operands]
    both = [operand if operand is None else operand.real + operand.imag for operand in operands]
    first, second, third = convolve(*real), convolve(*imaginary), convolve(*both)
    return torch.complex(first - second, third - first - second)


def _repeat(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    return (value,) * dimensions if isinstance(value, int) else value
