"""YAML files are read whole or refused in one message."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from repro.errors import ReproError
from repro.files.yaml_files import load_yaml


@pytest.mark.parametrize(
    "text", ["a: [", "a: 1\na: 2", "a: !!int ''", "a: !!float ''", "a: !!bool x", "a: !!timestamp 99999", "\x00"]
)
def test_what_is_no_yaml_is_one_message(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    with pytest.raises(ReproError, match=r"file\.yaml is not whole, valid YAML: "):
        load_yaml(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ReproError, match=r"file\.yaml cannot be read: it does not exist"):
        load_yaml(tmp_path / "file.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ReproError, match=r"pipe\.yaml cannot be read: it is no regular file but a named pipe"):
        load_yaml(tmp_path / "pipe.yaml")
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ReproError, match=r"huge\.yaml cannot be read: it has 1099511627776 bytes"):
        load_yaml(tmp_path / "huge.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "a: " + "[" * 101 + "]" * 101])
def test_deep_nesting_is_refused_and_does_not_end_the_process(tmp_path, text):
    path = tmp_path / "file.yaml"
    path.write_text(text)
    code = "import sys, pathlib; from repro.files.yaml_files import load_yaml; load_yaml(pathlib.Path(sys.argv[1]))"
    process = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "ReproError" in process.stderr
    assert "more than 100 lists and mappings in each other" in process.stderr
    assert "line 1, column " in process.stderr


def test_many_keys_take_no_quadratic_time(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("".join(f"k{number}: 1\n" for number in range(30_000)))
    assert len(load_yaml(path)) == 30_000  # with a list of the keys it took minutes


def test_merge_keys_cannot_ask_for_any_memory(tmp_path):
    path = tmp_path / "file.yaml"
    levels = (f"m{n}: &m{n} {{<<: [{', '.join(9 * [f'*m{n - 1}'])}]}}\n" for n in range(1, 10))
    path.write_text("m0: &m0 {a: 1, b: 2}\n" + "".join(levels))
    with pytest.raises(ReproError, match="the key << is not read: write out what it would add"):
        load_yaml(path)


def test_plain_types(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("a: [1, 2.5, x]")
    assert load_yaml(path) == {"a": [1, 2.5, "x"]}
