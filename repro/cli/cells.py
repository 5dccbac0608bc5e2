"""`repro cells`: the published numbers."""

from __future__ import annotations

from repro.cli import options


def command(table: options.AnyTable = None, json: options.Json = False) -> None:
    """Print every number that the paper prints, in the paper's order.

    Example: repro cells --table 2 --json
    """
    from repro import paper

    chosen = paper.load_all() if table is None else (paper.load(table),)
    cells = [cell for loaded in chosen for cell in loaded.cells]
    if json:
        import json as json_

        keys = ("table", "group", "row", "column", "printed", "value", "unit")
        print(json_.dumps([{key: getattr(cell, key) for key in keys} for cell in cells], indent=1, ensure_ascii=False))
        return
    for cell in cells:
        print(f"{cell}: {cell.printed}" + (f" {cell.unit}" if cell.printed[-1].isdigit() and cell.unit else ""))
