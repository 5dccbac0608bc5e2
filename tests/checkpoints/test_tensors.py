"""What no network can have as a weight is refused, in every container."""

from __future__ import annotations

import pytest
import torch
from weights_files import assert_state, detectron2, torch_legacy, torch_zip

from repro.checkpoints.weight_files import read
from repro.errors import ReproError

SAVERS = {"zip.pth": torch_zip, "legacy.pth": torch_legacy, "arrays.pkl": detectron2}


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize(
    ("key", "tensor", "reason"),
    [
        ("w", torch.tensor([1e308], dtype=torch.float64), "infinite in float32"),
        ("w", torch.tensor([-3.5e38], dtype=torch.float64), "infinite in float32"),
        ("bn1.running_var", torch.tensor([1.0, -1e-3]), "'bn1.running_var' has negative values"),
        ("running_var", torch.tensor([-1.0], dtype=torch.float16), "negative values"),
        ("ema_bn1_running_var", torch.tensor([-1.0]), "negative values"),
        ("bn1.num_batches_tracked", torch.tensor(-1), "negative values"),
        ("bn1/moving_variance", torch.tensor([-1.0]), "negative values"),  # TensorFlow
        ("stage1_bn1_moving_var", torch.tensor([-1.0]), "negative values"),  # MXNet
        ("res2_0_branch2a_bn_riv", torch.tensor([-1.0]), "negative values"),  # Caffe2
    ],
)
def test_weights_that_no_network_has(tmp_path, name, key, tensor, reason):
    (tmp_path / name).write_bytes(SAVERS[name]({key: tensor}))
    with pytest.raises(ReproError, match=reason):
        read(tmp_path / name)


@pytest.mark.parametrize("name", SAVERS)
def test_numbers_at_the_edge_of_what_networks_have(tmp_path, name):
    largest = torch.finfo(torch.float32).max
    state = {"w": torch.tensor([largest, -largest], dtype=torch.float64), "bn.running_var": torch.tensor([0.0, -0.0])}
    (tmp_path / name).write_bytes(SAVERS[name](state))
    assert_state(read(tmp_path / name), state)
