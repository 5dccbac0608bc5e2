"""JSON in which a key is there twice."""

from __future__ import annotations

import json

import pytest

from repro.files.json_files import RepeatedKey, check_keys, load_json

READERS = pytest.mark.parametrize("read", [load_json, check_keys])


@READERS
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 1}', "a"),
        ('[{"a": 1}, {"b": {"c": 1, "d": 2, "\\u0063": 3}}]', "c"),
        ('{"": 1, "": 2}', ""),
        ('{"a": {"a": 1}, "b": [{"a": 1}], "a": {}}', "a"),
    ],
)
def test_it_is_named(read, text, key):
    with pytest.raises(RepeatedKey, match="is there twice in one object") as caught:
        read(text.encode())
    assert caught.value.key == key


def test_what_is_there_once_is_read_as_json_reads_it():
    text = '{"a": [1, 2.5, {"a": null}], "A": {"a": "a"}, "b": {"a": true}}'
    assert load_json(text) == json.loads(text)
    check_keys(text.encode())


def test_numbers_of_any_length_are_none_of_the_business_of_who_looks_at_keys():
    check_keys(b'{"a": %s}' % (b"1" * 5000))
