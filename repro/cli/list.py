"""`repro list`: which experiment each row of the paper's tables is."""

from __future__ import annotations

from repro.cli import options


def command(table: options.AnyTable = None, json: options.Json = False) -> None:
    """Print the rows of the tables with the experiment that each of them names.

    Example: repro list --table 2
    """
    from repro import paper

    chosen = paper.tables() if table is None else (paper.load(table),)
    rows = [
        {"table": loaded.number, "group": group.name, "row": row.label, "experiment": row.experiment}
        for loaded in chosen
        for group in loaded.groups
        for row in group.rows
    ]
    if json:
        import json as json_

        print(json_.dumps(rows, indent=1, ensure_ascii=False))
        return
    width = max(len(row["row"]) for row in rows)
    above = None
    for row in rows:
        if above != (above := (row["table"], row["group"])):
            print(f"Table {row['table']}" + (f" ({row['group']})" if row["group"] else ""))
        print(f"  {row['row']:<{width}}  {row['experiment']}")
    distinct = {row["experiment"] for row in rows}
    tasks = {"coco": "COCO", "imagenet": "ImageNet", "kinetics": "Kinetics"}
    number = {title: sum(name.startswith(task) for name in distinct) for task, title in tasks.items()}
    parts = ", ".join(f"{many} {title}" for title, many in number.items() if many)
    print(f"{len(rows)} rows, {len(distinct)} experiments: {parts}")
