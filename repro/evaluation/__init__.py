"""Metrics of predictions against ground truth. Importing this much loads no torch."""

from importlib.metadata import version

#: What computes COCO's metrics, as records name it.
COCO_EVALUATOR = f"faster-coco-eval {version('faster-coco-eval')}"
#: What computes top-1 and top-5 of images. Ties go to the lower class.
TOPK_EVALUATOR = "repro top-k 1"
#: What computes top-1 and top-5 of videos, over several views of each.
MULTIVIEW_EVALUATOR = "repro multi-view 1"

#: By the experiments' data sets.
EVALUATORS = {"coco": COCO_EVALUATOR, "imagenet": TOPK_EVALUATOR, "kinetics": MULTIVIEW_EVALUATOR}

_ATTENTION = "repro attention statistics"
#: What computes Table 1's statistics of attention. Raise the number when a statistic becomes another.
ATTENTION_EVALUATOR = f"{_ATTENTION} 1"


def is_attention(evaluator: str) -> bool:
    """Whether it computes statistics of attention, in this version or another: a record of its own beside accuracy."""
    return evaluator.startswith(_ATTENTION)
