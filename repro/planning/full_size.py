"""Trainings at full size, which take months without a GPU: none begins on a CPU unless somebody asks for that."""

from __future__ import annotations

from repro.engine.cuda import explain_missing_cuda
from repro.errors import ReproError
from repro.planning.lookup import find_record
from repro.planning.progress import is_trained
from repro.planning.work_order import TrainedWork, WorkOrder
from repro.settings import Settings


def explain_missing_to_train(order: WorkOrder) -> str | None:
    """Explain what is missing here to do an order that trains at full size; None where nothing is.

    An order whose length --iterations sets, or whose device is chosen, is done wherever it is wished.
    """
    if not isinstance(order, TrainedWork) or is_trained(order):
        return None
    return explain_missing_to_train_fully(order.settings)


def explain_missing_to_train_fully(settings: Settings) -> str | None:
    """Explain what is missing here for a training at full size that these settings ask for; None where nothing is."""
    if settings.profile != "full" or settings.device != "auto" or settings.iterations is not None:
        return None
    return explain_missing_cuda()


def refuse_to_train_for_months(order: WorkOrder) -> None:
    """Refuse to train at full size on a CPU that nobody asked for.

    Raises:
        ReproError: there is no CUDA device, with what is missing.
    """
    missing = explain_missing_to_train(order)
    if missing and not find_record(order.settings.store.all(), order.key, order.experiment):
        raise ReproError(
            f"{order.experiment.name} is to be trained at full size, and there is no CUDA device here: {missing}. "
            "--device cpu trains on the CPU, for months; --profile mini trains a small network on generated data."
        )
