"""What is no file of arrays ends in one message."""

import numpy as np
import pytest

from repro.errors import ReproError
from repro.evaluation.array_files import open_arrays


def test_the_file_of_a_single_array_is_damaged(tmp_path):
    path = tmp_path / "one.npz"
    with path.open("wb") as file:
        np.save(file, np.arange(3))
    with pytest.raises(ReproError, match=r"one\.npz is damaged"), open_arrays(path, 1):
        pass
