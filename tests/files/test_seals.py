"""Sealed files: an edit, a missing seal and what is not of the form are refused, each with the file and a remedy."""

from __future__ import annotations

import hashlib
import json
import os
import re

import pytest

from repro.errors import ReproError
from repro.files.schema import FrozenModel
from repro.files.seals import read_sealed, seal


class Content(FrozenModel):
    value: float
    number: int
    right: bool
    names: tuple[str, ...] = ()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.json"
    path.write_bytes(seal(Content(value=38, number=5, right=True, names=("a", "b"))))
    return path


def read(path):
    return read_sealed(path, Content, "thing", "Make it again.")


def resealed(path, old, new):
    """Edit it, and compute the seal again as `docs/records.md` says."""
    text = re.sub(r',\n "content_sha256": "[0-9a-f]{64}"', "", path.read_text()).replace(old, new)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(text.removesuffix("\n}\n") + f',\n "content_sha256": "{sha256}"\n}}\n')


def test_what_was_written_is_read(path):
    assert read(path) == Content(value=38, number=5, right=True, names=("a", "b"))
    assert json.loads(path.read_text())["content_sha256"]


def test_an_edit_shows(path):
    path.write_text(path.read_text().replace("38.0", "39.0"))
    with pytest.raises(ReproError, match=rf"thing {path} was changed after it was written.*Make it again"):
        read(path)


def test_a_seal_that_was_taken_away(path):
    content = json.loads(path.read_text())
    del content["content_sha256"]
    path.write_text(json.dumps(content))
    with pytest.raises(ReproError, match=rf"thing {path} has no content_sha256: nothing tells whether it was edited"):
        read(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 38.0', '"value": "38.0"'),
        ('"value": 38.0', '"value": true'),
        ('"number": 5', '"number": true'),
        ('"number": 5', '"number": "5"'),
        ('"number": 5', '"number": 5.0'),
        ('"right": true', '"right": 1'),
        ('"right": true', '"right": "yes"'),
    ],
)
def test_what_is_no_number_is_not_read_as_one(path, old, new):
    resealed(path, old, new)
    field = old.split('"')[1]
    with pytest.raises(ReproError, match=rf"is not a valid thing: {field}: "):
        read(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ReproError, match=r"pipe\.json cannot be read: it is no regular file but a named pipe"):
        read(tmp_path / "pipe.json")
