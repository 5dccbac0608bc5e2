"""How far apart two passes of a training may be that compute the same, and two that do not.

    python benchmarks/recorded_passes.py [NETWORK ...]

`repro.engine.graphs` compares a replayed pass with an ordinary one. Here are the same distances, on a CPU at full
width, of an ordinary pass with its samples in another order, which changes nothing but rounding, and of one of other
images or labels. Networks begin as in a training, with small numbers where there are zeros.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from repro.data.classification import ImageBatch
from repro.data.clips import ClipBatch
from repro.engine import graphs
from repro.engine.devices import convert_memory_format
from repro.engine.distributed import build_fabric
from repro.engine.launch import Processes
from repro.experiments import get, preprocessing
from repro.settings import Precision
from repro.tasks.classification import ImageClassifier
from repro.tasks.video import ClipClassifier

NETWORKS = ("imagenet-r50-baseline", "imagenet-r50-gc-r16", "kinetics-r50-gc-r4")


class OnACpu(graphs.Recorder):
    """Records nothing."""

    def __init__(self, device: torch.device) -> None:
        pass


def build(name: str) -> tuple[torch.nn.Module, ImageBatch | ClipBatch]:
    """A network, and a batch of smooth noise for it."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    if name.startswith("kinetics"):
        noise = torch.rand(4, 3, 4, 8, 8, generator=generator)
        clips = torch.nn.functional.interpolate(noise, (8, 96, 96), mode="trilinear").mul(255).byte()
        model = ClipClassifier(get(name).classifier, preprocessing.CLIPS_TRAINED_HERE, dropout=0.0)
        convert_memory_format(model, torch.channels_last_3d)
        return model, ClipBatch(clips[:, None], torch.arange(4), [""] * 4)
    noise = torch.rand(16, 3, 8, 8, generator=generator)
    images = torch.nn.functional.interpolate(noise, (128, 128), mode="bicubic").clamp(0, 1).mul(255).byte()
    model = ImageClassifier(get(name).classifier, preprocessing.TRAINED_HERE)
    convert_memory_format(model, torch.channels_last)
    return model, ImageBatch(images, torch.arange(16), [""] * 16, torch.eye(3, 4).repeat(16, 1, 1))


def measure(name: str, precision: Precision) -> None:
    model, batch = build(name)
    model.train()
    passes = graphs.GraphedPasses(build_fabric(Processes(1, 1), "cpu", precision), model)
    tensors = graphs._list_tensors(batch)
    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "other order": lambda tensor: tensor.flip(0),
        "other images": lambda tensor: graphs._alter(tensor) if tensor.dim() > 3 else tensor,
        "other labels": lambda tensor: graphs._alter(tensor) if tensor.dim() == 1 else tensor,
    }

    def compute(change: Callable[[torch.Tensor], torch.Tensor]) -> graphs._Computed:
        changed = type(batch)(**{**vars(batch), **{key: change(tensor) for key, tensor in tensors.items()}})
        return passes._try(lambda: passes._compute(changed, 1.0))

    with passes._without_zeros():
        usual = compute(lambda tensor: tensor)
        for way, change in ways.items():
            off = graphs._measure_distance(compute(change), usual)
            figures = " | ".join(f"{one:.1e}" for one in (off.outcomes, off.gradients, off.nearest, off.norms))
            print(f"| {name} | {precision} | {way} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help=f"default: {' '.join(NETWORKS)}")
    graphs.Recorder = OnACpu  # type: ignore[misc]
    print(
        "| network | precision | with | loss, running statistics | furthest gradient | nearest | norms of gradients |"
    )
    print("| :--- | :--- | :--- | ---: | ---: | ---: | ---: |")
    for name in parser.parse_args().networks:
        measure(name, "32-true")
        measure(name, "bf16-mixed")


if __name__ == "__main__":
    main()
