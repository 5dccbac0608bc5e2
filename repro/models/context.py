"""Context blocks: the non-local block (Section 3.1) and the global context modeling framework (Section 4.2).

A non-local block computes one context per query position, a block of the framework one context for all of them:

    z_i = F(x_i, delta(sum_j alpha_j x_j))                                                                     (4)

that is, context modeling (attention or average pooling), a transform delta and a fusion F (addition or scaling).
The simplified non-local block (Eq. 3), SE and the GC block (Eq. 5) are instances: `repro.experiments.SNL`, `SE`, `GC`.

All blocks take and return feature maps (B, C, H, W) or, with `dimensions=3`, (B, C, T, H, W). N is the number of
positions, `H*W` or `T*H*W`. Fresh non-local blocks and fresh blocks with addition return their input unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from repro.experiments import BlockFactory, GlobalContext, NonLocal
from repro.models import fused
from repro.models.dimensions import AVERAGE_POOL, BATCH_NORM, CONV, MAX_POOL, build_window


def build(spec: NonLocal | GlobalContext | BlockFactory, channels: int, dimensions: int = 2) -> nn.Module:
    """The block of that specification for feature maps with `channels` channels and 2 or 3 dimensions of positions.

    One of the user's own is what its factory returns (`models.own_blocks` checks that).

    >>> from repro.experiments import GC
    >>> block = build(GC, channels=64)
    >>> block(torch.rand(2, 64, 8, 6)).shape
    torch.Size([2, 64, 8, 6])
    >>> sum(parameter.numel() for parameter in block.parameters())
    653

    Raises:
        ValueError: as `NonLocalBlock` and `GlobalContextBlock` say.
        TypeError: `spec` is neither a `NonLocal` nor a `GlobalContext`, nor can it be called.
    """
    if isinstance(spec, NonLocal):
        return NonLocalBlock(spec, channels, dimensions)
    if isinstance(spec, GlobalContext):
        return GlobalContextBlock(spec, channels, dimensions)
    if callable(spec):
        return spec(channels, dimensions)
    raise TypeError(f"no context block is specified by a {type(spec).__name__}")


class NonLocalBlock(nn.Module):
    """Non-local block, Eq. 1: z_i = x_i + W_z sum_j omega_ij (W_v x_j), with W_v = `g` and W_z = `conv_out`.

    The instantiations of omega_ij in Section 3.1, with W_q = `theta` and W_k = `phi`:

    - gaussian: softmax over j of `<x_i, x_j>`, with `spec.scaled` of `<x_i, x_j> / sqrt(C)`
    - embedded_gaussian: softmax over j of `<W_q x_i, W_k x_j>`, with `spec.scaled` divided by sqrt(C/reduction)
    - dot_product: `<W_q x_i, W_k x_j>` / M
    - concat: `ReLU(W_q [x_i, x_j])` / M, with W_q = `concat_project`, without a bias as printed

    j runs over M keys: the N positions, or those that a 2x2 (in video 1x2x2) max-pool leaves of them.

    The code of [31] and [6] scales the logits of its one softmax, the embedded Gaussian, and divides those of the dot
    product by M alone; neither has the other two instantiations. DNL-Object-Detection computes the Gaussian as it does
    the embedded one, scale included; mmcv, which took over the embedded one with its scale, does not scale it.

    Raises:
        ValueError: `spec.reduction` exceeds `channels`.
    """

    def __init__(self, spec: NonLocal, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        conv = CONV[dimensions]
        inner = channels // spec.reduction
        if inner == 0:
            raise ValueError(f"reduction {spec.reduction} leaves none of {channels} channels")
        self.instantiation = spec.instantiation
        if spec.instantiation in ("embedded_gaussian", "dot_product"):
            self.theta = conv(channels, inner, 1)
            self.phi = conv(channels, inner, 1)
        elif spec.instantiation == "concat":
            self.concat_project = conv(2 * channels, 1, 1, bias=False)
        self.g = conv(channels, inner, 1)
        self.conv_out = conv(inner, channels, 1)
        self.norm = BATCH_NORM[dimensions](channels) if spec.output_norm else nn.Identity()
        self.subsample = MAX_POOL[dimensions](build_window(dimensions, 2, time=1)) if spec.subsample else nn.Identity()
        self.subsample_projected = nn.Identity()
        self.scaled, self.inverted = spec.scaled, spec.inverted
        _initialise(self, spec.initial)
        _set_to_zero(self.norm if spec.output_norm else self.conv_out)

    def project_first(self) -> None:
        """Sub-sample what `phi` and `g` make of all positions, as mmcv's block does, instead of what they are given."""
        if not isinstance(self.subsample, nn.Identity):
            self.subsample, self.subsample_projected = nn.Identity(), self.subsample

    def attention(self, x: Tensor) -> Tensor:
        """omega, (B, N, M), of the feature map `x`: row i holds the weights of query position i.

        Float32 (or float64 for float64 input) also under autocast: half-precision logits would distort the small
        differences between rows that Table 1 measures.

        >>> x = torch.rand(1, 16, 8, 6)
        >>> NonLocalBlock(NonLocal(), channels=16).attention(x).shape  # 8 * 6 queries, 4 * 3 keys after the max-pool
        torch.Size([1, 48, 12])
        """
        return self._attention(x, self.subsample(x))

    def attention_rows(self, x: Tensor, count: int = 256) -> Iterator[Tensor]:
        """`attention` in blocks (B, n, M) of at most `count` rows, in order: the whole map is never in memory."""
        queries, keys = self._project(x, self.subsample(x))
        for some in queries.split(count, dim=2):
            yield self._weigh(some, keys)

    def _attention(self, x: Tensor, keys: Tensor) -> Tensor:
        return self._weigh(*self._project(x, keys))

    def _project(self, x: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared: queries (B, C', N) and keys (B, C', M)."""
        with _without_autocast(x.device.type):
            queries, keys = x.to(self.g.weight.dtype), keys.to(self.g.weight.dtype)
            if self.instantiation in ("embedded_gaussian", "dot_product"):
                queries, keys = self.theta(queries), self.phi(keys)
            keys = self.subsample_projected(keys)
            dtype = torch.promote_types(queries.dtype, torch.float32)
            return queries.flatten(2).to(dtype), keys.flatten(2).to(dtype)

    def _weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        with _without_autocast(queries.device.type):
            if self.instantiation == "concat":
                # W_q [x_i, x_j] is a term of i plus a term of j: no pair is ever concatenated.
                of_query, of_key = self.concat_project.weight.flatten().to(queries.dtype).chunk(2)
                pairwise = ((of_query @ queries).unsqueeze(2) + (of_key @ keys).unsqueeze(1)).relu()
            else:
                if self.scaled and self.instantiation != "dot_product":
                    # Sooner than the logits, of which there are more.
                    queries = queries * queries.shape[1] ** (0.5 if self.inverted else -0.5)
                pairwise = queries.transpose(1, 2) @ keys
            if self.instantiation in ("dot_product", "concat"):
                return pairwise / pairwise.shape[-1]
            return pairwise.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        keys = self.subsample(x)
        values = self.subsample_projected(self.g(keys)).flatten(2)  # (B, C/reduction, M)
        context = values @ self._attention(x, keys).to(values.dtype).transpose(1, 2)
        return x + self.norm(self.conv_out(context.unflatten(2, x.shape[2:])))


class GlobalContextBlock(nn.Module):
    """A block of the framework, Eq. 4; with the default specification the GC block, Eq. 5.

    - Context modeling: alpha = softmax over j of W_k x_j with W_k = `conv_mask`, or alpha_j = 1/N (average pooling).
    - Transform: one 1x1 convolution (`ratio` None), or a bottleneck of C/ratio channels with layer norm and ReLU,
      each as specified.
    - Fusion: x_i + delta(.), or x_i * sigmoid(delta(.)) as in SE.

    Parameters are named as in the authors' ContextBlock: `conv_mask`, and `channel_add_conv` or `channel_mul_conv`
    with the convolutions at 0 and 3 and the layer norm at 1. As there, the last convolution starts from zero.

    Raises:
        ValueError: layer norm or ReLU without a bottleneck, or a ratio that exceeds `channels`.
    """

    def __init__(self, spec: GlobalContext, channels: int, dimensions: int = 2) -> None:
        super().__init__()
        self.spec = spec
        conv = CONV[dimensions]
        if spec.pooling == "att":
            self.conv_mask = conv(channels, 1, 1)
            nn.init.kaiming_normal_(self.conv_mask.weight)
            nn.init.zeros_(self.conv_mask.get_parameter("bias"))
        else:
            self.avg_pool = AVERAGE_POOL[dimensions](1)
        transform = _transform(spec, channels, dimensions)
        if spec.fusion == "add":
            self.channel_add_conv = transform
        else:
            self.channel_mul_conv = transform
        if spec.initial == "normal":
            _initialise(self, "normal")
        else:
            _set_to_zero(transform[-1])

    def attention(self, x: Tensor) -> Tensor:
        """alpha, (B, N), of the feature map `x`; only for blocks with attention pooling.

        >>> alpha = GlobalContextBlock(GlobalContext(), channels=16).attention(torch.rand(2, 16, 8, 6))
        >>> alpha.shape, bool(torch.allclose(alpha.sum(dim=1), torch.ones(2)))
        (torch.Size([2, 48]), True)
        """
        return self.conv_mask(x).flatten(1).softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        if fused.choose_implementation(x) != "autograd":
            return self._forward_fused(x)
        context = self._pool(x, self.attention(x)) if self.spec.pooling == "att" else self.avg_pool(x)
        return self._fuse(x, self._transform(context, x))

    def forward_residual(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """ReLU(z + shortcut), z being the block's result: all additions of a residual block in one pass over `x`."""
        if fused.choose_implementation(x) != "autograd":
            return self._forward_fused(x, shortcut)
        return (self(x) + shortcut).relu_()

    def _forward_fused(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        if self.spec.pooling == "att":
            context, x = fused.pool_by_attention(x, self.conv_mask.weight, self.conv_mask.get_parameter("bias"))
        else:
            context, x = fused.pool_average(x)
        transformed = self._transform_vectors(context)
        if self.spec.fusion == "scale":
            transformed = transformed.sigmoid()
        return fused.fuse(x, transformed, self.spec.fusion, shortcut)

    def forward_undistributed(self, x: Tensor) -> Tensor:
        """Eq. 2: W_v applied to every position before the attention pooling; equal to `forward`, Eq. 3, but dearer.

        Raises:
            ValueError: not the simplified non-local block's attention pooling and single convolution.
        """
        if self.spec.pooling != "att" or self.spec.ratio is not None:
            raise ValueError(f"Eq. 2 needs attention pooling and a linear transform, not {self.spec}")
        return self._fuse(x, self._pool(self._layers(x), self.attention(x)))

    @staticmethod
    def _pool(x: Tensor, alpha: Tensor) -> Tensor:
        """sum_j alpha_j x_j, (B, C, 1, 1) or (B, C, 1, 1, 1)."""
        return (x.flatten(2) @ alpha.unsqueeze(-1)).unflatten(2, (1,) * (x.dim() - 2))

    def _transform(self, context: Tensor, x: Tensor) -> Tensor:
        """delta of the contexts (B, C, 1, 1) or (B, C, 1, 1, 1) of the map `x`, in their shape."""
        if x.is_cuda:
            return self._transform_vectors(context.flatten(1)).to(x.dtype).view_as(context)
        return self._layers(context)

    @property
    def _layers(self) -> nn.Sequential:
        return self.channel_add_conv if self.spec.fusion == "add" else self.channel_mul_conv

    def _transform_vectors(self, context: Tensor) -> Tensor:
        """delta of contexts (B, C) by matrix products, without autocast.

        On a GPU, convolutions of single positions are slow, and autocast's copies of so few parameters save nothing.
        """
        with _without_autocast(context.device.type):
            vectors = context
            for layer in self._layers:
                if isinstance(layer, nn.LayerNorm):
                    weight, bias = layer.weight.flatten(), layer.bias.flatten()
                    vectors = nn.functional.layer_norm(vectors, weight.shape, weight, bias, layer.eps)
                elif isinstance(layer, (nn.ReLU, nn.Identity)):
                    vectors = layer(vectors)
                elif isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                    vectors = nn.functional.linear(vectors.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias)
                else:
                    raise TypeError(f"{type(layer).__name__} is no layer of a context block's transform")
            return vectors

    def _fuse(self, x: Tensor, transformed: Tensor) -> Tensor:
        return x + transformed if self.spec.fusion == "add" else x * transformed.sigmoid()


def _transform(spec: GlobalContext, channels: int, dimensions: int) -> nn.Sequential:
    conv = CONV[dimensions]
    if spec.ratio is None:
        if spec.layer_norm or spec.relu:
            raise ValueError(f"without a bottleneck ratio there is no place for layer norm or ReLU: {spec}")
        return nn.Sequential(conv(channels, channels, 1, bias=spec.bias))
    hidden = channels // spec.ratio
    if hidden == 0:
        raise ValueError(f"ratio {spec.ratio} leaves none of {channels} channels")
    return nn.Sequential(
        conv(channels, hidden, 1, bias=spec.bias),
        nn.LayerNorm([hidden] + [1] * dimensions) if spec.layer_norm else nn.Identity(),
        nn.ReLU(inplace=True) if spec.relu else nn.Identity(),
        conv(hidden, channels, 1, bias=spec.bias),
    )


def _initialise(block: nn.Module, initial: Literal["normal", "msra", "default"]) -> None:
    """Draw the weights of the block's convolutions, where they are not to stay as PyTorch makes them."""
    if initial == "default":
        return
    for layer in block.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            if initial == "normal":
                nn.init.normal_(layer.weight, std=0.01)
            else:
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _set_to_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _without_autocast(device_type: str) -> AbstractContextManager:
    if device_type == "meta":  # which has none; to ask torch whether there is one would break compiled graphs
        return nullcontext()
    return torch.autocast(device_type, enabled=False)
