"""Which engine is taken, and what is said of one that cannot be."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from repro import experiments
from repro.detection import engines
from repro.errors import ReproError

DETECTOR = experiments.get("coco-r50-baseline").network


@pytest.fixture
def absent(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "detectron2" else find(name))


def test_without_detectron2(absent):
    assert engines.resolve("auto") == engines.resolve("torchvision") == "torchvision"
    with pytest.raises(ReproError, match=r"not installed.*no-build-isolation git\+https"):
        engines.resolve("detectron2")


def test_unknown_engine():
    with pytest.raises(ReproError, match="did you mean detectron2"):
        engines.resolve("detectron")


def resolve(directory: Path, engine: str, **files: str) -> str:
    """What `resolve` says where the Detectron2 that is installed consists of `files`."""
    package = directory / "detectron2"
    package.mkdir()
    for name, text in ({"__init__": "", "modeling": "", "_C": ""} | files).items():
        (package / f"{name}.py").write_text(text)
    code = (
        "from repro.detection import engines\nfrom repro.errors import ReproError\n"
        f"try:\n    print(engines.resolve({engine!r}))\nexcept ReproError as error:\n    print('error:', error)"
    )
    paths = os.pathsep.join([str(directory), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    return done.stdout


BUILT_FOR_ANOTHER = "raise ImportError('detectron2/_C.so: undefined symbol: _ZN2at4_ops10empty_like4call')"


def test_detectron2_is_taken_where_it_can_be_imported(tmp_path):
    assert resolve(tmp_path, "auto") == "detectron2\n"


def test_built_for_another_torch(tmp_path):
    said = resolve(tmp_path, "detectron2", _C=BUILT_FOR_ANOTHER)
    assert said.startswith("error: engine detectron2: ")
    assert "was built for another PyTorch than the installed" in said
    assert "undefined symbol" in said
    assert "pip uninstall detectron2" in said


def test_one_that_cannot_be_imported_is_not_taken_by_default(tmp_path):
    assert resolve(tmp_path, "auto", _C=BUILT_FOR_ANOTHER) == "torchvision\n"


def test_a_dependency_is_missing(tmp_path):
    said = resolve(tmp_path, "detectron2", modeling="import omegaconf_of_nowhere")
    assert "cannot be imported: No module named 'omegaconf_of_nowhere'" in said


def test_importing_it_loads_no_library():
    code = (
        "import sys, repro.detection.engines\n"
        "print(sorted({'torch', 'torchvision', 'detectron2', 'numpy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_engine_is_built(absent):
    import torch

    with torch.device("meta"):
        assert type(engines.build("auto", DETECTOR)).__module__ == "repro.detection.torchvision"


def test_an_export_without_detectron2(absent):
    from repro.cli.export import detectron2

    with pytest.raises(ReproError, match="not installed"):
        detectron2("coco-r50-gc-r16")
    with pytest.raises(ReproError, match="unknown experiment"):
        detectron2("coco-r50-gc")
