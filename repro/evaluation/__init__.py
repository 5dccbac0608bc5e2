"""Metrics of predictions against ground truth. Importing this much loads no torch."""

from importlib.metadata import version

#: What computes COCO's metrics, as records name it.
COCO_EVALUATOR = f"faster-coco-eval {version('faster-coco-eval')}"
