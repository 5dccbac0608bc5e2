"""The mini profile: the experiments of Table 2 scaled down to minutes on two CPU cores. Imports nothing heavy.

The networks keep every placement of the paper (before the last residual block of c4, all of c3 to c5, after the 1x1 or
after the addition, all ratios), the frozen stages, the pre-training and the fine-tuning; widths, depths, image size and
schedule are smaller, and the data set is generated (`repro.data.miniature`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from repro.errors import ReproError
from repro.experiments import Backbone, Classifier, Detector, Experiment, Recipe, digest, get

MINI_DATA_SEED = 0


@dataclass(frozen=True)
class Scenes:
    """What the generated images hold. All lengths in pixels."""

    seed: int = MINI_DATA_SEED
    version: int = 1  #: raised when the generator draws something else from the same values
    height: int = 64
    width: int = 192
    train_images: int = 1024
    val_images: int = 256
    shapes: tuple[str, ...] = ("disc", "cross", "triangle")
    cues: tuple[str, ...] = ("red", "cyan")  #: colours of the lamp
    cue_hues: tuple[float, ...] = (0.0, 0.5)
    object_hues: tuple[float, ...] = (0.17, 0.3, 0.7, 0.83)  #: none of the lamp's
    sides: tuple[int, int] = (16, 40)  #: of an object, log-uniform
    objects: tuple[int, int] = (1, 4)  #: per image
    lamp_zone: int = 32  #: the lamp is so close to the left or the right end
    distance: int = 64  #: between the lamp and the nearest object, at least
    crowds: float = 0.1  #: of the images have one
    classification_images: int = 9600
    classification_width: int = 96
    classification_distance: int = 8

    def with_seed(self, seed: int) -> Scenes:
        return replace(self, seed=seed)


SCENES = Scenes()
#: Identity of the generated data set in cache keys.
DATASET_KEY = digest(asdict(SCENES))
