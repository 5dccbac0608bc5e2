"""What is no file of arrays ends in one message."""

import numpy as np
import pytest

from repro.errors import ReproError
from repro.evaluation.array_files import open_arrays
from repro.evaluation.correctness import Correctness, load_correctness, save_correctness


def test_the_file_of_a_single_array_is_damaged(tmp_path):
    path = tmp_path / "one.npz"
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ReproError, match=r"one\.npz is damaged"), open_arrays(path, 1):
        pass


def test_no_bit_of_a_file_changes_what_is_read_from_it(tmp_path):
    """Each byte in turn: refused, or a part of the archive that says nothing, such as the time of writing."""
    path = tmp_path / "right.npz"
    ids, right = np.array([f"item {n}" for n in range(9)]), np.arange(18).reshape(9, 2) % 3 == 0
    save_correctness(Correctness("f" * 64, ids, right), path)
    content = path.read_bytes()
    refused = 0
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        try:
            loaded = load_correctness(path)
        except ReproError:
            refused += 1
        else:
            assert loaded.predictions_sha256 == "f" * 64, at
            np.testing.assert_array_equal(loaded.item_ids, ids)
            np.testing.assert_array_equal(loaded.right, right)
    assert refused > len(content) / 2
