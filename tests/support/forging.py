"""A forger's work: a sealed file is edited, and sealed again so that the edit does not show by the seal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def forge(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Let `change` edit the content of a sealed file, in place, and compute the seal as `docs/records.md` says."""
    content = json.loads(path.read_text())
    del content["content_sha256"]
    change(content)
    text = json.dumps(content, indent=1) + "\n"
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(text.removesuffix("\n}\n") + f',\n "content_sha256": "{sha256}"\n}}\n')
