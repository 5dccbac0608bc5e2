"""Where a training is logged beside its own files: packages that are optional. Imports no torch."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from repro.errors import ReproError

TENSORBOARD, WANDB = "tensorboard", "wandb"  #: of each: the package, the extra that has it, and the directory


@dataclass(frozen=True)
class LogTargets:
    """Where a training is logged beside `metrics.csv`."""

    tensorboard: bool = False
    wandb: bool = False

    @property
    def names(self) -> list[str]:
        """Those that are wished."""
        return [name for name, wished in ((TENSORBOARD, self.tensorboard), (WANDB, self.wandb)) if wished]

    def require(self) -> None:
        """Refuse what is not installed.

        Raises:
            ReproError: a package is not, with how to install it.
        """
        for name in self.names:
            if importlib.util.find_spec(name) is None:
                raise ReproError(
                    f"--{name} needs the package {name}, which is not installed: pip install 'gcnet-repro[{name}]'"
                )
