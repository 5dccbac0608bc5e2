"""Numbers that an option takes: what would take for ever, or all of the memory, is refused at the door."""

from __future__ import annotations

import re

import pytest
import typer
from typer.testing import CliRunner

from repro import cli
from repro.cli.measuring_options import _parse_interval
from repro.errors import ReproError
from repro.settings import LARGEST_SEED, MOST_THREADS


def list_numbers(command, path=()):
    """Every option and argument of a whole number, of every verb."""
    for name, verb in getattr(command, "commands", {}).items():
        yield from list_numbers(verb, (*path, name))
    for parameter in command.params:
        if parameter.type.name.split()[0] in ("int", "integer"):
            yield " ".join((*path, parameter.opts[0])), parameter.type


NUMBERS = dict(list_numbers(typer.main.get_command(cli.app)))


def test_there_are_such_options():
    assert {"run --seed", "run --threads", "reproduce --seeds", "effects --resamples", "table number"} <= NUMBERS.keys()


@pytest.mark.parametrize("name", NUMBERS)
def test_every_whole_number_has_a_least_and_a_most(name):
    least, most = getattr(NUMBERS[name], "min", None), getattr(NUMBERS[name], "max", None)
    assert least is not None
    assert most is not None
    assert most <= 10**9 or most == LARGEST_SEED


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["run", "coco-r50-1gc", "--seed", str(2**64)], "--seed"),
        (["run", "coco-r50-1gc", "--seed", "-1"], "--seed"),
        (["run", "coco-r50-1gc", "--threads", "100000"], "--threads"),
        (["run", "coco-r50-1gc", "--devices", "100000"], "--devices"),
        (["run", "coco-r50-1gc", "--iterations", "1" + 400 * "0"], "--iterations"),
        (["submit", "coco-r50-1gc", "--seed", str(2**32)], "--seed"),
        (["reproduce", "--table", "2", "--seeds", "1000000"], "--seeds"),
        (["plan", "--table", "2", "--seeds", "1000000"], "--seeds"),
        (["effects", "--resamples", "1000000000"], "--resamples"),
        (["analyze", "coco-r50-1nl", "--threads", "0"], "--threads"),
    ],
)
def test_a_number_out_of_range_ends_with_2_and_is_named(arguments, option):
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.output
    assert "is not in the range" in result.output


@pytest.mark.parametrize(
    "text", ["0", "0m", "m", "10 m", "1.5", "-3", "10d", "1000h", "9999999999", "\N{SUPERSCRIPT TWO}"]
)
def test_states_are_saved_at_a_number_of_iterations_or_a_time(text):
    with pytest.raises(ReproError, match=f"^--save-every {re.escape(text)}: "):
        _parse_interval(text)
    assert _parse_interval("50") == {"save_every": 50}
    assert [_parse_interval(time) for time in ("90s", "10m", "2h")] == [{"save_seconds": n} for n in (90, 600, 7200)]


def test_as_many_threads_as_are_taken_do_compute():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(MOST_THREADS)
    try:
        ones = torch.ones(300, 300)
        assert (ones @ ones).eq(300).all()
        assert torch.nn.functional.conv2d(torch.ones(1, 8, 64, 64), torch.ones(8, 8, 3, 3)).eq(72).all()
    finally:
        torch.set_num_threads(before)


def test_the_largest_seed_seeds_everything():
    import torch

    from repro.engine.sampler import Batches, reseed

    held = [torch.Generator()]
    reseed(held, LARGEST_SEED, 10**9, 63)
    torch.manual_seed(LARGEST_SEED)
    first, second = (next(iter(Batches(100, 10, seed, 0, 1)))[1] for seed in (LARGEST_SEED, LARGEST_SEED - 1))
    assert first != second
