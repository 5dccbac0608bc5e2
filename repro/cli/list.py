"""`repro list`: which experiment each row of the paper's tables is."""

from __future__ import annotations

from repro.cli import options


def command(table: options.AnyTable = None, own: options.With = None, json: options.Json = False) -> None:
    """Print the rows of the tables with the experiment that each of them names, and below them your own.

    Examples:

      repro list --table 2

      repro list --with mine.py
    """
    from repro import paper
    from repro.experiments import list_own
    from repro.verification.own_rows import find_place

    chosen = paper.load_all() if table is None else (paper.load(table),)
    rows = [
        (loaded.number, group.name, row.label, row.experiment)
        for loaded in chosen
        for group in loaded.groups
        for row in group.rows
    ]
    options.load_own(own)
    mine = [(experiment, find_place(experiment)) for experiment in list_own()]
    if json:
        import json as json_

        keys = ("table", "group", "row", "experiment")
        listed: list[dict[str, object]] = [dict(zip(keys, row, strict=True)) for row in rows]
        listed += [
            {
                "table": where and where[0].number, "group": where and where[1].name, "row": None,
                "experiment": experiment.name, "derived_from": experiment.derived_from,
            }
            for experiment, where in mine
        ]  # fmt: skip
        print(json_.dumps(listed, indent=1, ensure_ascii=False))
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
    for own_one, where in mine:
        place = f"Table {where[0].number}{f' ({where[1].name})' if where[1].name else ''}" if where else "no table"
        print(f"your own, in {place} beside {own_one.derived_from}: {own_one.name}")
