"""Small data sets in ILSVRC2012's layouts, archives and devkit included, for tests of what reads them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

#: Ascending wnids, and the devkit's ids of them, which are in another order.
WNIDS = ("n00000100", "n00000200", "n00000300")
DEVKIT_IDS = {"n00000300": 1, "n00000100": 2, "n00000200": 3}
#: Of ILSVRC2012_val_00000001, ...
TRUTH = ("n00000300", "n00000100", "n00000200", "n00000100", "n00000300")


def photograph(seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options) -> bytes:
    """A JPEG file of smooth random colours; `size` is (width, height)."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, len(Image.new(mode, (1, 1)).getbands())), np.uint8)
    image = Image.fromarray(noise.squeeze(), mode if mode == "CMYK" else None).resize(size, Image.Resampling.BICUBIC)
    return encoded(image, "JPEG", quality=90, **options)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def devkit(ids: dict[str, int], truth: tuple[str, ...], parent: str = "n00001740") -> dict[str, bytes]:
    """The devkit's two files: meta.mat lists `parent` too, an inner node of WordNet with an id after the classes'."""
    rows = [(number, wnid, "a, b", "gloss", 0, 0, 0, 5) for wnid, number in sorted(ids.items(), key=lambda one: one[1])]
    rows.append((len(rows) + 1, parent, "entity", "gloss", len(rows), [one[0] for one in rows], 1, 0))
    kinds = [(name, object) for name in
             ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height",
              "num_train_images")]  # fmt: skip
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": np.array(rows, dtype=kinds)[:, None]})
    lines = "".join(f"{ids[wnid]}\n" for wnid in truth)
    return {"data/meta.mat": meta.getvalue(), "data/ILSVRC2012_validation_ground_truth.txt": lines.encode()}


def tar(files: dict[str, bytes], kind: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=kind) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


def validation(truth: tuple[str, ...] = TRUTH, **options) -> dict[str, bytes]:
    """The files of the validation archive."""
    return {f"ILSVRC2012_val_{i:08d}.JPEG": photograph(i, **options) for i in range(1, len(truth) + 1)}


def write_devkit(
    root: Path,
    ids: dict[str, int] = DEVKIT_IDS,
    truth: tuple[str, ...] = TRUTH,
    change: dict[str, bytes] | None = None,
) -> None:
    files = devkit(ids, truth) | (change or {})
    files = {f"ILSVRC2012_devkit_t12/{name}": content for name, content in files.items()}
    write(root, {"ILSVRC2012_devkit_t12.tar.gz": tar(files, "w:gz")})


def write_official(root: Path) -> None:
    """All three official archives; the training images are two of each class."""
    inner = {
        wnid: {f"{wnid}_{n}.JPEG": photograph(10 * n + i, (50, 40)) for n in (7, 10)} for i, wnid in enumerate(WNIDS)
    }
    write(
        root,
        {
            "ILSVRC2012_img_val.tar": tar(validation()),
            "ILSVRC2012_img_train.tar": tar({f"{wnid}.tar": tar(files) for wnid, files in inner.items()}),
        },
    )
    write_devkit(root)
