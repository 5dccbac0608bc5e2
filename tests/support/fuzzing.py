"""One loop for damaged inputs by number: each is refused with one message, or read as its format's own library does.

The same numbers are always the same inputs. A test tries a few; with `REPRO_FUZZ_SECONDS=N` as many as its share of N
seconds allows, from the number `REPRO_FUZZ_FIRST` on (0, unless it is set). What it counted is shown by pytest's `-rP`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from patience import measure_slowness

SECONDS = float(os.environ.get("REPRO_FUZZ_SECONDS", "0"))
FIRST = int(os.environ.get("REPRO_FUZZ_FIRST", "0"))


def number_inputs(few: int, share: float = 1, step: int = 1) -> Iterator[int]:
    """Numbers of inputs, each `step` after the one before: of `few` inputs, or for the time that was asked for."""
    if not SECONDS:
        yield from range(0, few, step)
        return
    begun, number = time.monotonic(), FIRST
    while time.monotonic() - begun < share * SECONDS:
        yield number
        number += step


def try_inputs(
    name: str,
    numbers: Iterator[int],
    make: Callable[[int], bytes],
    read: Callable[[bytes], Any],
    refusal: type[Exception],
    compare: Callable[[bytes, Any], str | None],
    capture: pytest.CaptureFixture[str],
    named: str = "",
) -> int:
    """Try damaged inputs: how many were read; asserts that there is no traceback, no difference, and none takes long.

    Args:
        read: raises `refusal` for what it does not read.
        compare: how what was read differs from what the format's own library reads, which may raise anything.
        named: what each message of a refusal has to have in it.
    """
    tracebacks, wrong, alone, tried, accepted, slowest = [], [], [], 0, 0, 0.0
    for number in numbers:
        tried += 1
        content = make(number)
        begun = time.process_time()
        try:
            ours = read(content)
        except refusal as error:
            if named not in str(error) or len(str(error)) > 2000 or "\n" in str(error):
                tracebacks.append(f"{number}: a message without the file, or too long: {str(error)[:300]}")
            continue
        except Exception as error:
            tracebacks.append(f"{number}: {error!r}")
            continue
        finally:
            slowest = max(slowest, time.process_time() - begun)
        accepted += 1
        try:
            difference = compare(content, ours)
        except Exception as error:
            alone.append(f"{number}: {type(error).__name__} {str(error)[:150]}")
            continue
        if difference:
            wrong.append(f"{number}: {difference[:800]}")
    capture.readouterr()  # what libraries write
    counted = (
        f"{tried} inputs from {FIRST if SECONDS else 0}, {accepted} read ({len(alone)} of them by this reader alone)"
    )
    print(f"{name}: {counted}, {len(tracebacks)} tracebacks, {len(wrong)} wrong readings, slowest {slowest:.2f} s")
    print("\n".join(alone[:5]))
    assert not tracebacks, tracebacks[:10]
    assert not wrong, wrong[:10]
    assert slowest < 5 * measure_slowness()
    return accepted
