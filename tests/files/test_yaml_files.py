"""YAML files are read whole or refused in one message."""

from __future__ import annotations

import os

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


def test_plain_types(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("a: [1, 2.5, x]")
    assert load_yaml(path) == {"a": [1, 2.5, "x"]}
