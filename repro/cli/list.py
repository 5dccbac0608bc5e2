"""`repro list`: which experiment each row of the paper's tables is."""

from __future__ import annotations

from repro.cli import options


def command(table: options.AnyTable = None, json: options.Json = False) -> None:
    """Print the rows of the tables with the experiment that each of them names.

    Example: repro list --table 2
    """
    from repro import paper

    chosen = paper.load_all() if table is None else (paper.load(table),)
    rows = [
        (loaded.number, group.name, row.label, row.experiment)
        for loaded in chosen
        for group in loaded.groups
        for row in group.rows
    ]
    if json:
        import json as json_

        keys = ("table", "group", "row", "experiment")
        print(json_.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=1, ensure_ascii=False))
        return
    width = max(len(label) for _, _, label, _ in rows)
    above = None
    for number, group_name, label, experiment in rows:
        if above != (above := (number, group_name)):
            print(f"Table {number}" + (f" ({group_name})" if group_name else ""))
        print(f"  {label:<{width}}  {experiment}")
    distinct = {experiment for *_, experiment in rows}
    tasks = {"coco": "COCO", "imagenet": "ImageNet", "kinetics": "Kinetics"}
    by_task = {title: sum(name.startswith(task) for name in distinct) for task, title in tasks.items()}
    parts = ", ".join(f"{many} {title}" for title, many in by_task.items() if many)
    print(f"{len(rows)} rows, {len(distinct)} experiments: {parts}")
