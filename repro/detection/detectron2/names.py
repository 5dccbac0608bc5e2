"""The parameters' names in Detectron2's modules and in a state dict of this project, one for one."""

from __future__ import annotations

#: How a name begins in this project and in Detectron2's `GeneralizedRCNN`. None of these begins another.
_BODY = (
    ("backbone.", "backbone.bottom_up."),
    *((f"fpn.inner_blocks.{i}.0.", f"backbone.fpn_lateral{i + 2}.") for i in range(4)),
    *((f"fpn.layer_blocks.{i}.0.", f"backbone.fpn_output{i + 2}.") for i in range(4)),
    ("rpn.head.conv.0.0.", "proposal_generator.rpn_head.conv."),
    ("rpn.head.cls_logits.", "proposal_generator.rpn_head.objectness_logits."),
    ("rpn.head.bbox_pred.", "proposal_generator.rpn_head.anchor_deltas."),
)
_HEADS = (
    ("box_head.fc6.", "box_head.fc1."),
    ("box_head.fc7.", "box_head.fc2."),
    *((f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.") for i in range(4)),
    ("mask_predictor.conv5_mask.", "mask_head.deconv."),
    ("mask_predictor.mask_fcn_logits.", "mask_head.predictor."),
)
_PAIRS = (
    *_BODY,
    *(
        (f"{stage}{own}", f"{stage}{library}")
        for stage in ("roi_heads.", *(f"roi_heads.stages.{k}." for k in range(3)))
        for own, library in _HEADS
    ),
)


def to_own(name: str) -> str:
    """Translate a parameter's name to this project's."""
    return _rename(name, {library: own for own, library in _PAIRS})


def to_detectron2(name: str) -> str:
    """Translate a parameter's name to that in a `GeneralizedRCNN` of `network`."""
    return _rename(name, dict(_PAIRS))


def _rename(name: str, beginnings: dict[str, str]) -> str:
    known = next((known for known in beginnings if name.startswith(known)), "")
    return beginnings.get(known, "") + name[len(known) :]
