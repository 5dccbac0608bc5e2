"""Work beside a network's: samples that are read ahead of it, and results that are finished behind it.

Whether and by how many workers work is shared changes no result and no order. With none, everything happens in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from repro.engine.interruption import announce_ending, ignore_in_worker
from repro.errors import ReproError

Batch = TypeVar("Batch")
Loaded = TypeVar("Loaded")
Item = TypeVar("Item")
Result = TypeVar("Result")

#: Results that wait for each thread that finishes them.
_WAITING = 2


class _Reading(Dataset, Generic[Batch, Loaded]):
    def __init__(self, read: Callable[[Batch], Loaded]) -> None:
        self.read = read

    def __getitem__(self, batch: Batch) -> Loaded | ReproError:
        try:
            return self.read(batch)
        except ReproError as error:  # a value, because a DataLoader would bury the message in a worker's traceback
            return error


def read_ahead(
    read: Callable[[Batch], Loaded], batches: Iterable[Batch], workers: int
) -> Generator[Loaded, None, None]:
    """Yield what `read` makes of each batch, in order. Close the iterator, or exhaust it, to end the workers.

    Args:
        read: a pure function; what it returns is neither a `ReproError` nor unfit for pickling.
        workers: processes that read ahead, each of them two batches at most. 0: this process reads, when it is asked.

    Raises:
        ReproError: what `read` raised, after everything before it.
    """
    loader = DataLoader(
        _Reading(read),
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        collate_fn=_pass_through,
        generator=torch.Generator(),  # the seed that it draws for its workers is not the global generator's
        worker_init_fn=partial(ignore_in_worker, announce_ending()) if workers else None,
    )
    for loaded in loader:
        if isinstance(loaded, ReproError):
            raise loaded
        yield loaded


def finish_behind(
    finish: Callable[[Item], Result], items: Generator[Item, None, None], threads: int
) -> Generator[Result, None, None]:
    """Yield what `finish` makes of each item, in order, while the next items are made.

    For what waits without the interpreter's lock: copies from a GPU, and libraries in C.

    Args:
        threads: at most twice as many items wait or are worked on. 0: each is finished before the next one is made.

    Raises:
        Exception: what `items` or `finish` raised, after the results of everything before it.
    """
    with closing(items):
        if not threads:
            yield from map(finish, items)
            return
        pending: deque[Future[Result]] = deque()
        failure = None
        pool = ThreadPoolExecutor(threads, thread_name_prefix="finish")
        try:
            while True:
                try:
                    item = next(items)
                except StopIteration:
                    break
                except Exception as error:  # of any kind: it is raised below, in its turn
                    failure = error
                    break
                pending.append(pool.submit(finish, item))
                if len(pending) >= _WAITING * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
            if failure:
                raise failure
        finally:
            pool.shutdown(cancel_futures=True)


def cut_batches(parts: Sequence[range], size: int) -> list[range]:
    """Cut ranges of items into batches of at most `size`, none of which reaches beyond its range.

    >>> cut_batches([range(0, 5), range(10, 12)], 3)
    [range(0, 3), range(3, 5), range(10, 12)]
    """
    return [part[at : at + size] for part in parts for at in range(0, len(part), size)]


def group_batches(parts: Sequence[range], size: int, find_kind: Callable[[int], Hashable]) -> list[list[int]]:
    """Group ranges of items into batches of at most `size` of one kind, none of which reaches beyond its range.

    Within a range batches are ordered by their first item.

    >>> group_batches([range(0, 6), range(6, 8)], 2, lambda item: item % 2)
    [[0, 2], [1, 3], [4], [5], [6], [7]]
    """
    batches = []
    for part in parts:
        kinds: dict[Hashable, list[int]] = {}
        for item in part:
            kinds.setdefault(find_kind(item), []).append(item)
        batches += sorted(alike[at : at + size] for alike in kinds.values() for at in range(0, len(alike), size))
    return batches


def restore_order(
    results: Generator[Result, None, None], batches: Sequence[Sequence[int]], parts: Sequence[range]
) -> Generator[Result, None, None]:
    """Yield results that come in the order of `batches` in that of `parts`, which have the same items."""
    waiting: dict[int, Result] = {}
    wanted = [item for part in parts for item in part][::-1]
    with closing(results):
        for item, result in zip((item for batch in batches for item in batch), results, strict=False):
            waiting[item] = result
            while wanted and wanted[-1] in waiting:
                yield waiting.pop(wanted.pop())


def _pass_through(batch: Loaded) -> Loaded:
    return batch
