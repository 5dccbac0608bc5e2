"""The classes of ILSVRC2012, its splits and its official files, as data. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: WordNet ids of the 1000 classes, ascending: output i of a classifier stands for WNIDS[i]. The devkit's own ids
#: (ILSVRC2012_ID, 1 to 1000) number the same synsets in another order.
WNIDS: tuple[str, ...] = tuple((Path(__file__).parent / "imagenet_synsets.txt").read_text().split())


@dataclass(frozen=True)
class Official:
    """The official archive of a split, as image-net.org distributes it."""

    images: int
    archive: str
    size: int  #: of the archive in bytes


OFFICIAL = {
    "train": Official(1_281_167, "ILSVRC2012_img_train.tar", 147_897_477_120),
    "val": Official(50_000, "ILSVRC2012_img_val.tar", 6_744_924_160),
}

DEVKIT = "ILSVRC2012_devkit_t12"
DEVKIT_MD5 = "fa75699e90414af021442c21a62c3abf"  #: of the .tar.gz

#: Where the files come from, in words.
SOURCE = "image-net.org gives it out after a registration (Download, ILSVRC2012)"
