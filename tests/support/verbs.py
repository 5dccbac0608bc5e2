"""Every verb of the command line, with each option that names a place."""

from __future__ import annotations

GC, NL, OF_TEST_DEV = "coco-r50-gc-r16", "coco-r50-1nl", "coco-x101-cascade-gc-r4"
FULL = ["--profile", "full", "--device", "cpu", "--source", "trained"]

ANSWER = ["--ap-box", "40", "--ap50-box", "60", "--ap75-box", "45"]

#: {name: words}, with PLACE where the place stands. Each verb with each of its options that names what is read.
READS = {
    "analyze --images": ["analyze", NL, "--random", "--images", "PLACE"],
    "analyze --data-root": ["analyze", NL, "--random", "--data-root", "PLACE"],
    "analyze --model": ["analyze", "--model", "PLACE:make"],
    "analyze --results": ["analyze", NL, "--profile", "mini", "--results", "PLACE"],
    "analyze --weights": ["analyze", NL, "--weights", "PLACE", "--data-root", "."],
    "bundle --verify": ["bundle", "--verify", "PLACE"],
    "bundle --results": ["bundle", "--results", "PLACE"],
    "checkpoints import": ["checkpoints", "import", "PLACE"],
    "checkpoints verify": ["checkpoints", "verify", "PLACE"],
    "checkpoints verify --id": ["checkpoints", "verify", "PLACE", "--id", "gcnet/r50-syncbn-gc-r16-1x"],
    "checkpoints convert": ["checkpoints", "convert", "PLACE", "--experiment", GC, "--output", "out.pt"],
    "claims --results": ["claims", "--results", "PLACE"],
    "compare --results": ["compare", GC, NL, "--results", "PLACE"],
    "compare of files": ["compare", "PLACE", "PLACE"],
    "complexity --model": ["complexity", "--model", "PLACE:make", "--input", "1x3x8x8"],
    "complexity --results": ["complexity", "--table", "2", "--results", "PLACE"],
    "curves --results": ["curves", GC, "--results", "PLACE"],
    "jobs --results": ["jobs", "--results", "PLACE"],
    "jobs cancel --results": ["jobs", "cancel", "--all", "--results", "PLACE"],
    "data verify --root": ["data", "verify", "coco", "--root", "PLACE"],
    "data verify imagenet --root": ["data", "verify", "imagenet", "--root", "PLACE"],
    "data verify kinetics --root": ["data", "verify", "kinetics", "--root", "PLACE"],
    "diff of files": ["diff", "PLACE", "PLACE"],
    "diff --results": ["diff", "a", "b", "--results", "PLACE"],
    "effects --results": ["effects", "--results", "PLACE"],
    "explain --results": ["explain", "2/a/+1 GC/ap_box", "--results", "PLACE"],
    "figure --images": ["figure", "1", "--experiment", NL, "--random", "--images", "PLACE"],
    "export hub --results": ["export", "hub", GC, "exported", "--results", "PLACE"],
    "hypotheses --results": ["hypotheses", "--results", "PLACE"],
    "run --weights": ["run", GC, "--device", "cpu", "--weights", "PLACE", "--data-root", "."],
    "run --weights ID=": [
        "run",
        GC,
        "--device",
        "cpu",
        "--data-root",
        ".",
        "--weights",
        "gcnet/r50-syncbn-gc-r16-1x=PLACE",
    ],
    "run --weights FORMAT=": ["run", GC, "--device", "cpu", "--data-root", ".", "--weights", "torchvision=PLACE#model"],
    "plan --results": ["plan", "--table", "2", "--profile", "mini", "--results", "PLACE"],
    "predict": ["predict", GC, "PLACE", "--weights", "weights.pt"],
    "predict --weights": ["predict", GC, "annotations/instances_val2017.json", "--weights", "PLACE"],
    "predict --results": ["predict", GC, "photograph.jpg", "--results", "PLACE"],
    "record-external --submission": ["record-external", OF_TEST_DEV, "--submission", "PLACE", *ANSWER],
    "record-external --metrics": ["record-external", OF_TEST_DEV, "--submission", ".", "--metrics", "PLACE"],
    "report --results": ["report", "--results", "PLACE", "--output", "report.html"],
    "reproduce --results": ["reproduce", "--table", "2", "--profile", "mini", "--results", "PLACE"],
    "run --data-root": ["run", GC, *FULL, "--data-root", "PLACE"],
    "run --init": ["run", GC, *FULL, "--data-root", ".", "--init", "PLACE"],
    "run --results": ["run", GC, "--profile", "mini", "--device", "cpu", "--results", "PLACE"],
    "status --results": ["status", "--results", "PLACE"],
    "submit --data-root": ["submit", OF_TEST_DEV, "--data-root", "PLACE", "--device", "cpu"],
    "submit --weights": ["submit", OF_TEST_DEV, "--weights", "PLACE", "--data-root", "."],
    "table --results": ["table", "2", "--results", "PLACE"],
    "verify --results": ["verify", "--results", "PLACE"],
}
#: Verbs with an option that names what is written, whatever is read before.
WRITES = {
    "bundle --output": ["bundle", "--results", "STORE", "--output", "PLACE/out.zip"],
    "report --output": ["report", "--results", "STORE", "--output", "PLACE/out.html"],
    "table --output": ["table", "2", "--results", "STORE", "--output", "PLACE/out.md"],
    "verify --junit": ["verify", "--results", "STORE", "--junit", "PLACE/out.xml"],
    "verify --summary": ["verify", "--results", "STORE", "--summary", "PLACE/out.md"],
}
#: Written with `write_atomically` after minutes, of a network that there is none of here, or with Detectron2 alone;
#: or downloaded.
WRITTEN_LAST = {
    "data fetch --root", "curves --output",  # where a training was logged
    "checkpoints convert --output", "export detectron2 --output", "export hub", "predict --output", "submit --output",
}  # fmt: skip
#: The same option of the same class (`MeasuringOptions`) or function (`analysis_options`) as another verb's.
SHARED = {
    *(f"{verb} {option}" for verb in ("plan", "reproduce", "submit") for option in ("--weights", "--init")),
    *(f"figure {option}" for option in ("--model", "--weights", "--data-root", "--results")),
    "compare --data-root", "plan --data-root", "reproduce --data-root",
    "effects --data-root", "submit --results", "record-external --results",
}  # fmt: skip
#: They begin to measure where nothing is in the way.
MEASURES = {"run --results", "reproduce --results", "complexity --results"}
#: Verbs without such an option: {name: words}.
OTHERS = {
    "cells": ["cells"],
    "cells --json": ["cells", "--json"],
    "checkpoints list": ["checkpoints", "list", "--table", "2"],
    "checkpoints fetch": ["checkpoints", "fetch", "no/such-weights"],
    "data guide": ["data", "guide", "coco"],
    "data fetch": ["data", "fetch", "imagenet", "--root", "data"],  # coco would be fetched
    "export detectron2": ["export", "detectron2", "no-such-experiment"],
    "list": ["list"],
    "list --json": ["list", "--json"],
    "readings": ["readings"],
    "tables --check": ["tables", "--check"],
    "tolerances": ["tolerances"],
}
