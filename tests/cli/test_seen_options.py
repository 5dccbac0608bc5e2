"""Options that say what is seen of a training: where they mean nothing, or what they need is missing, is said."""

from __future__ import annotations

import importlib.util

import pytest

from repro.cli.measuring_options import MeasuringOptions
from repro.errors import ReproError


@pytest.mark.parametrize("option", [{"evaluate_every": 2}, {"tensorboard": True}, {"wandb": True}])
def test_of_weights_that_others_trained_no_training_is_seen(option):
    with pytest.raises(ReproError, match="look at a training; checkpoints have had it"):
        MeasuringOptions(source="checkpoint", **option).settings()


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_named_at_once_and_otherwise_wished(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ReproError, match=rf"--{name} needs the package {name}.*pip install 'gcnet-repro\[{name}\]'"):
        MeasuringOptions(**{name: True}).settings()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    settings, _ = MeasuringOptions(evaluate_every=3, **{name: True}).settings()
    assert (settings.evaluate_every, getattr(settings, name)) == (3, True)
