"""Which task an experiment has: each data set its own, another one none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repro.experiments import get
from repro.experiments.description import describe_network
from repro.models import context
from repro.settings import Settings
from repro.tasks import task_for


def test_an_unknown_data_set_is_refused_not_taken_for_videos(tmp_path):
    experiment = replace(get("coco-r50-baseline"), dataset="lvis")
    with pytest.raises(ValueError, match="no task knows the data set 'lvis'"):
        task_for(experiment, Settings(results=tmp_path))


def test_an_unknown_specification_of_a_block_is_refused():
    with pytest.raises(TypeError, match="no context block is specified by a str"):
        context.build("GC", 64)
    experiment = get("coco-r50-gc-r16")
    insertion = replace(experiment.network.backbone.context, block="GC")
    backbone = replace(experiment.network.backbone, context=insertion)
    with pytest.raises(TypeError, match="no words for a context block that is specified by a str"):
        describe_network(replace(experiment, network=replace(experiment.network, backbone=backbone)))
