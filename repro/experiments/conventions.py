"""What frameworks do differently around the same network. Weights need at test what they were trained with.

The frameworks agree on the rest: proposals are chosen per level by score, NMS at 0.7 runs within each level, and the
best of all levels remain, as many as were chosen of each; detections need a score above 0.05, NMS at 0.5 runs within
each class, and the best 100 remain. mmdetection before 2.0 cuts a level's proposals once more after its NMS, at a
number that none exceeds.

Class order and layout of a weights file are not here: they are corrected when it is converted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from repro.experiments.specification import Detector


@dataclass(frozen=True)
class DetectionConventions:
    """How a detector is fed and how its boxes and masks are read. Imports no torch."""

    name: str
    color: Literal["RGB", "BGR"] = "RGB"
    #: For values 0..255, in the order of `color`.
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    anchor_offset: float = 0.5  #: centre of a cell's anchors from the cell's corner, in strides
    rounded_anchors: bool = True  #: sides in whole pixels
    #: A level's stride is the padded image divided by the grid, rounded down: 61 for P6 at 800 pixels, not 64.
    inferred_strides: bool = False
    aligned: bool = False  #: RoIAlign shifts by half a cell
    sampling: int = 2  #: RoIAlign's samples per cell along a side; 0: as many as the cell has pixels
    #: A box ends on its last pixel. Decoding and RoIAlign come to the same as in continuous coordinates; but a box is
    #: clipped to at least a pixel, one factor scales both axes and moves the end by 1 - factor, before the NMS of the
    #: detections, and what then lies beyond the border of the original image stays. In training, an object's box is
    #: scaled in the same way, and its mask is cut to whole pixels and resized in integers (`detection.mask_targets`).
    inclusive_boxes: bool = False
    #: Masks are pasted into boxes whose corners are cut to whole pixels, and a probability of 0.5 is outside of them.
    whole_pixel_masks: bool = False
    soft_mask_border: bool = False  #: mask probabilities fall to zero around the edge of the box
    #: The publishers of the weights let as many proposals pass at test, of each level and of all; None: as many as the
    #: network's specification says.
    most_proposals: int | None = None

    def limit_proposals(self, number: int) -> int:
        """The number of proposals at test where the specification says `number`."""
        return number if self.most_proposals is None else min(number, self.most_proposals)


#: The authors' framework, mmdetection before 2.0, at the time of the paper: what networks are trained with here.
AUTHORS = DetectionConventions("authors", inclusive_boxes=True, whole_pixel_masks=True)
#: The same arithmetic as far as continuous coordinates have it: what the mini profile's networks are trained with.
CONTINUOUS = DetectionConventions("continuous")
#: Files of mmdetection before 2.0, the authors' among them.
MMDETECTION_1 = replace(AUTHORS, name="mmdetection 1")
MMDETECTION_2 = DetectionConventions(
    "mmdetection 2",
    anchor_offset=0.0,
    rounded_anchors=False,
    aligned=True,
    sampling=0,
    soft_mask_border=True,
    most_proposals=1000,
)
TORCHVISION = DetectionConventions(
    "torchvision",
    anchor_offset=0.0,
    inferred_strides=True,
    whole_pixel_masks=True,
    soft_mask_border=True,
    most_proposals=1000,
)
#: Detectron2's zoo: MSRA's ResNets, whose inputs are not scaled.
DETECTRON2 = DetectionConventions(
    "detectron2",
    color="BGR",
    mean=(103.53, 116.28, 123.675),
    std=(1.0, 1.0, 1.0),
    anchor_offset=0.0,
    rounded_anchors=False,
    aligned=True,
    sampling=0,
    soft_mask_border=True,
    most_proposals=1000,
)


def choose_conventions(network: Detector) -> DetectionConventions:
    """The conventions by which `network` is trained here."""
    return AUTHORS if network.pixels == "inclusive" else CONTINUOUS
