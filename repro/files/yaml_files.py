"""The reader of the project's YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from repro.errors import ReproError
from repro.files.regular_files import read_regular
from repro.files.text_files import convert_to_utf8

_LIMIT = 32 << 20  # bytes; the largest of the project has less than a hundredth of it


class _UniqueKeyLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> Any:
    """Load a YAML file, as plain types.

    Raises:
        ReproError: the file cannot be read, is not whole, valid YAML, or has a key twice; the message names it.
    """
    content = convert_to_utf8(read_regular(path, _LIMIT), str(path))
    try:
        return yaml.load(content, _UniqueKeyLoader)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:  # !!int x raises any
        raise ReproError(f"{path} is not whole, valid YAML: {' '.join(str(error).split())}") from None
