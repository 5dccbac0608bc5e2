"""Verbs that only read answer without the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from samples import published, record

from repro import paper
from repro.records import Store


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify"],
        ["table", "2"],
        ["explain", "2/a/+1 GC/ap_box"],
        ["claims"],
        ["status"],
        ["diff", "coco-r50-1gc.full.trained.seed0", "coco-r50-1gc.full.trained.seed1"],
    ],
)
def test_neither_torch_nor_scipy_nor_numpy_is_imported(arguments, tmp_path):
    store = Store(tmp_path / "records")
    for seed in (0, 1):  # with two seeds there are intervals to compute
        store.add(record("coco-r50-1gc", published(paper.load(2), "coco-r50-1gc"), seed=seed))
    program = (
        "import sys; sys.argv = ['repro', *sys.argv[1:]]\n"
        "from repro.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "found = {'torch', 'scipy', 'numpy'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    environment = {**os.environ, "REPRO_RESULTS": str(tmp_path)}
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr
