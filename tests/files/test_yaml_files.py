"""YAML files are read whole or refused in one message."""

from __future__ import annotations

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


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ReproError, match=r"file\.yaml cannot be read: No such file"):
        load_yaml(tmp_path / "file.yaml")


def test_plain_types(tmp_path):
    path = tmp_path / "file.yaml"
    path.write_text("a: [1, 2.5, x]")
    assert load_yaml(path) == {"a": [1, 2.5, "x"]}
