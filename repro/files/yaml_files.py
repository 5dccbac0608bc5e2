"""The reader of the project's YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from repro.errors import ReproError
from repro.files.regular_files import read_regular
from repro.files.text_files import convert_to_utf8

_LIMIT = 32 << 20  # bytes; the largest of the project has less than a hundredth of it
_MOST_DEPTH = 100  # lists and mappings in each other; the project's have 8


class _UniqueKeyLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently keep the last.

    Merge keys (`<<`) are refused, too: a few lines of them can ask for any amount of memory.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                if key.tag == "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, "the key << is not read: write out what it would add", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """Load a YAML file, as plain types.

    Raises:
        ReproError: the file cannot be read, is not whole, valid YAML, is nested too deep, or has a key twice or a merge
            key; the message names it.
    """
    content = convert_to_utf8(read_regular(path, _LIMIT), str(path))
    try:
        _check_depth(content)
        return yaml.load(content, _UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:  # !!int x raises any
        raise ReproError(f"{path} is not whole, valid YAML: {' '.join(str(error).split())}") from None


def _check_depth(content: bytes) -> None:
    """Refuse what is nested so deep that PyYAML would end the process: it recurses in C without a limit."""
    depth = 0
    for event in yaml.parse(content, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"more than {_MOST_DEPTH} lists and mappings in each other {event.start_mark}")
