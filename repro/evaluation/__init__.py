"""Metrics of predictions against ground truth. Importing this much loads no torch."""

import re
from importlib.metadata import version

#: What computes COCO's metrics, as records name it.
COCO_EVALUATOR = f"faster-coco-eval {version('faster-coco-eval')}"
#: What computes top-1 and top-5 of images. Ties go to the lower class.
TOPK_EVALUATOR = "repro top-k 1"
#: What computes top-1 and top-5 of videos, over several views of each.
MULTIVIEW_EVALUATOR = "repro multi-view 1"

#: By the experiments' data sets.
EVALUATORS = {"coco": COCO_EVALUATOR, "imagenet": TOPK_EVALUATOR, "kinetics": MULTIVIEW_EVALUATOR}

#: The version is another project's; of our own evaluators, those up to today's are known.
_FOREIGN = re.compile(r"faster-coco-eval \d+(\.\d+)*\S{0,20}")

_ATTENTION = "repro attention statistics"
#: What computes Table 1's statistics of attention. Raise the number when a statistic becomes another.
ATTENTION_EVALUATOR = f"{_ATTENTION} 1"


def is_attention(evaluator: str) -> bool:
    """Whether it computes statistics of attention, in this version or another: a record of its own beside accuracy."""
    return evaluator.startswith(_ATTENTION)


def is_known(evaluator: str, dataset: str) -> bool:
    """Whether a name and version is of what evaluates experiments on a data set: "coco", "imagenet" or "kinetics"."""
    if dataset == "coco" and not is_attention(evaluator):
        return _FOREIGN.fullmatch(evaluator) is not None
    current = ATTENTION_EVALUATOR if is_attention(evaluator) else EVALUATORS[dataset]
    name, _, newest = current.rpartition(" ")
    return evaluator in {f"{name} {number}" for number in range(1, int(newest) + 1)}
