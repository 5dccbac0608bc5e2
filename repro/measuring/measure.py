"""Executes a work order, from the data set to the record. Each result is kept, none is computed twice.

`execution` has the stages. Here is what surrounds them: an existing record, what a training starts from, the lock of
the run's directory, and the processes that share the work.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from repro.engine import distributed, launch
from repro.engine.arithmetic import choose_tf32
from repro.engine.cuda import report_broken_devices
from repro.engine.fitted import find_finished
from repro.engine.log_rows import Iteration
from repro.evaluation.predictor import ProgressReport
from repro.files.locks import describe_holder, hold_directory_lock, waiting
from repro.files.notices import telling
from repro.files.places import look_anew
from repro.measuring.execution import Execution, start_execution
from repro.planning.lookup import find_record
from repro.planning.work_order import TrainedWork, WorkOrder
from repro.records import Record
from repro.user_code import report_own_failures


def measure(
    order: WorkOrder,
    *,
    command: str,
    progress: ProgressReport,
    say: Callable[[str], None] = lambda text: None,
    keep_weights: bool = False,
) -> Record:
    """The record that an order asks for: an existing one of the same cache key, or a new measurement.

    Of several processes every one calls this and gets the record; the first alone writes, and calls the reports.

    Args:
        command: that the user gave, for the record.
        progress: called as the work advances.
        say: called with how the batch is divided, before a training.
        keep_weights: a record will not do, if the weights that were trained for it are not here any more.

    Raises:
        Busy: another process is at work there, and the settings say not to wait for it.
        ReproError: bad or missing input, a training that diverged, an output directory that cannot be written, a GPU
            with too little memory, or a process that was lost.
    """
    processes = launch.find_processes(order.settings.devices)
    choose_tf32(order.settings.precision)
    torch.set_num_threads(order.settings.threads)
    report = progress if processes.rank == 0 else _report_nothing

    def execute(order: WorkOrder, keep_weights: bool) -> Record:
        execution = start_execution(order, processes, report)
        if isinstance(order, TrainedWork):
            earlier = order.network_of or order.starts_from
            if earlier and (_lacks_weights(order, keep_weights) or not _find_stored(order)):
                execute(earlier, keep_weights=True)
        return _with_run_lock(execution, command, say, keep_weights)

    name, source = order.experiment.name, order.experiment.source
    directory = source.directory if source else None
    with (
        distributed.collective_section(processes),
        report_broken_devices(),
        report_own_failures(name, directory),
        waiting(order.settings.wait),
    ):
        return execute(order, keep_weights)


def prepare(order: WorkOrder, *, progress: ProgressReport) -> None:
    """Provide what an order's training begins with, unless it is there: data, and what it shares with other trainings.

    Raises:
        ReproError: as `measure`.
    """
    torch.set_num_threads(order.settings.threads)
    execution = start_execution(order, launch.find_processes(order.settings.devices), progress)
    with waiting(order.settings.wait):
        execution.acquire()


def check(order: WorkOrder) -> None:
    """Refuse at once what any process would refuse, before several are started.

    Raises:
        ReproError: as `measure`, for what the order and the data set's annotations show.
    """
    start_execution(order, launch.find_processes(order.settings.devices), _report_nothing)


def _report_nothing(stage: str, done: int, total: int, at: Iteration | None = None) -> None:
    pass


def _find_stored(order: WorkOrder) -> Record | None:
    return find_record(order.settings.store.all(), order.key, order.experiment)


def _lacks_weights(order: WorkOrder, wanted: bool) -> bool:
    """Whether weights are wanted that are not here any more, or damaged."""
    if not wanted or not isinstance(order, TrainedWork):
        return False
    return find_finished(order.training.directory, order.training.key) is None


def _with_run_lock(
    execution: Execution, command: str, say: Callable[[str], None], keep_weights: bool = False
) -> Record:
    """The record, in every process; nobody else measures the same meanwhile."""
    first = execution.fabric.is_global_zero
    with hold_directory_lock(execution.order.directory) if first else nullcontext():
        if first:
            look_anew(execution.order.settings.store.directory)  # for the record of whoever was waited for
        return _across_processes(execution, command, say, keep_weights)


def _across_processes(execution: Execution, command: str, say: Callable[[str], None], keep_weights: bool) -> Record:
    """The record, which the first process looks for and, together with the others, makes."""
    fabric, order = execution.fabric, execution.order
    first = fabric.is_global_zero
    record = _find_stored(order) if first and not _lacks_weights(order, keep_weights) else None
    # What one process does for all is done before it joins the others, who wait for it in `launch`.
    start = execution.acquire() if first and record is None else None
    with _telling_for_whom(execution, "to find the data and the initial weights"):
        fabric.launch()
        torch.set_num_threads(order.settings.threads)  # `launch` may set another number
        record, start = fabric.broadcast((record, start))
    if record is not None:
        return record
    if first and execution.description and _lacks_weights(order, wanted=True):
        say(execution.description)
    network = execution.load_network(start)
    predictor, predicted = execution.predict(network)
    record = execution.record(network, predictor, predicted, command) if first else None
    with _telling_for_whom(execution, "to evaluate the predictions"):
        record = fabric.broadcast(record)
    assert record is not None, "the first process has made it"
    return record


def _telling_for_whom(execution: Execution, why: str) -> AbstractContextManager[None]:
    """Tell for whom the processes wait that have nothing to do: in the second process, on behalf of the others."""
    processes, directory = execution.processes, execution.order.directory
    if processes.rank != 1:
        return nullcontext()
    who = "process 2 waits" if processes.count == 2 else f"processes 2 to {processes.count} wait"
    return telling(lambda: f"{who} for the first one {why}; in {directory} works {describe_holder(directory)}")
