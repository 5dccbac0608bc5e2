"""Where the checkout and the real data beside it lie."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
REFERENCE = ROOT / "tables" / "reference"  #: what the committed tables are rendered from
SHARED = ROOT.parent / "shared"  #: real data; tests that need it skip where it is absent
