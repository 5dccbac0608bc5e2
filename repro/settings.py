"""What a user chose for measuring. Imports nothing heavy: the command line is built from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repro.files.printable import join_words

if TYPE_CHECKING:
    from repro.records import Store

#: Where results are if nothing else is said.
RESULTS = Path("results")

#: Bounds of what can be asked for: more is a slip of the keyboard, and would take for ever or all of the memory.
LARGEST_SEED = 2**32 - 1  #: NumPy's generators mix larger ones with what is drawn for an epoch and an item
MOST_SEEDS = 1000
MOST_THREADS = 1024  #: more than any machine has processors; OpenMP is killed where it cannot have as many
MOST_DEVICES = 64  #: of one machine
MOST_GPUS = 100_000  #: of a cluster
MOST_ITERATIONS = 10**9
MOST_SECONDS = 7 * 24 * 3600  #: between two saved states
MOST_EPOCHS = 10**6
MOST_ITEMS = 10**6  #: of a batch

Profile = Literal["full", "mini"]
Source = Literal["auto", "trained", "checkpoint"]
Engine = Literal["torchvision", "detectron2"]
Device = Literal["auto", "cpu", "cuda"]
DecodeOn = Literal["cpu", "gpu"]
Precision = Literal["32-true", "tf32", "bf16-mixed"]  #: tf32: float32, whose products a GPU makes in TF32


@dataclass(frozen=True)
class Settings:
    """What a user chose on the command line."""

    results: Path
    profile: Profile = "mini"
    source: Source = "auto"  #: auto: the authors' weights where there are some
    weights: str | None = None  #: to evaluate instead of the authors' of the row: a file, an id, or ID=FILE
    data_root: Path | None = None
    seed: int = 0
    engine: Engine = "torchvision"  #: what detectors are assembled from
    device: Device = "auto"
    devices: int | None = None  #: processes with a device each; None: as torchrun or Slurm started them, else one
    precision: Precision = "32-true"
    initial: str | None = None  #: a file, or "random", instead of the recipe's initial weights
    iterations: int | None = None  #: train for so many instead of the recipe's length
    batch_size: int | None = None  #: effective batch; the learning rate is scaled with it
    micro_batch: int | None = None  #: items of one forward pass in training; default: see `measuring.batch_division`
    evaluation_batch: int | None = None  #: images of one padded size that a detector predicts together; None: one
    compile: bool = False  #: the network with torch.compile
    cuda_graphs: bool = False  #: passes of a classifier's training recorded and replayed
    decode_on: DecodeOn = "cpu"  #: what decodes the JPEG files of a training on ImageNet
    #: (point, choice) of every reading of the protocol that is not the default one, by point.
    readings: tuple[tuple[str, str], ...] = ()
    threads: int = 1
    workers: int | None = None  #: processes that load data ahead, for each that computes; None: as fits the device
    save_every: int = 50  #: iterations of training between two saved states
    save_seconds: int | None = None  #: the time between two saved states, instead of a number of iterations
    evaluate_every: int | None = None  #: epochs between two evaluations of the network while it is trained
    tensorboard: bool = False  #: whether a training is logged for TensorBoard, too
    wandb: bool = False  #: whether a training is logged with Weights & Biases, too
    wait: bool = True  #: for another process that is at work in the same place

    @property
    def training_options(self) -> bool:
        """Whether something was chosen that only a training has."""
        return any((self.initial, self.iterations, self.batch_size, self.micro_batch))

    @property
    def store(self) -> Store:
        from repro.records import Store

        return Store(self.results / "records")


def describe_place(results: Path) -> str:
    """Describe where results are as the end of a command that is to be copied: nothing where that is as ever."""
    return "" if results == RESULTS else f" {join_words(['--results', results])}"
