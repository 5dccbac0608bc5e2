"""The table that verbs print in a terminal."""

from __future__ import annotations

import pytest

from repro.cli.terminal_table import align_columns


def test_columns_are_as_wide_as_their_longest_text_and_lines_do_not_end_in_spaces():
    assert align_columns([("row", "n", "ours"), ("baseline", "3", "")]) == ["row       n  ours", "baseline  3"]


def test_rows_of_different_lengths_are_a_mistake():
    with pytest.raises(ValueError, match="zip"):
        align_columns([("row", "n"), ("baseline",)])
