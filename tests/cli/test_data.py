"""`repro data verify`: whole sets are verified, and what is wrong with others is said."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import imagenet_trees as trees
import pytest
from places import ROOT, SHARED
from typer.testing import CliRunner

from repro.cli.data import app
from repro.data import verification
from repro.data.synsets import OFFICIAL, WNIDS, Official
from repro.errors import ReproError

#: The devkit's ids, in another order than the wnids.
IDS = {wnid: (i * 7) % 1000 + 1 for i, wnid in enumerate(WNIDS)}
TRUTH = tuple(WNIDS[(i * 3) % 1000] for i in range(1000))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Archives of 1000 validation and 1000 training images, one of each class."""
    root = tmp_path_factory.mktemp("imagenet")
    image = trees.photograph(0, (8, 8))
    val = {f"ILSVRC2012_val_{i:08d}.JPEG": image for i in range(1, 1001)}
    train = {f"{wnid}.tar": trees.tar({f"{wnid}_1.JPEG": image}) for wnid in WNIDS}
    trees.write(root, {"ILSVRC2012_img_val.tar": trees.tar(val), "ILSVRC2012_img_train.tar": trees.tar(train)})
    trees.write_devkit(root, IDS, TRUTH)
    return root


@pytest.fixture
def imagenet(whole, tmp_path, monkeypatch) -> Path:
    """`whole`, as if it were the official size."""
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    for split in ("train", "val"):
        archive = OFFICIAL[split].archive
        monkeypatch.setitem(OFFICIAL, split, Official(1000, archive, (whole / archive).stat().st_size))
    md5 = hashlib.md5((whole / "ILSVRC2012_devkit_t12.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(verification, "DEVKIT_MD5", md5)
    root = tmp_path / "root"
    root.mkdir()
    for file in whole.iterdir():
        (root / file.name).symlink_to(file)
    return root


def run(*arguments, expect=0):
    result = CliRunner().invoke(app, ["verify", *map(str, arguments)])
    if isinstance(result.exception, ReproError):
        raise result.exception
    assert result.exit_code == expect, result.output
    return result


def unpacked(root, truth=TRUTH):
    """The validation images in directories of classes, in the place of their archive."""
    (root / "ILSVRC2012_img_val.tar").unlink()
    image = trees.photograph(0, (8, 8))
    trees.write(root / "val", {f"{wnid}/ILSVRC2012_val_{i:08d}.JPEG": image for i, wnid in enumerate(truth, 1)})


def test_the_whole_set_is_verified(imagenet):
    result = run("imagenet", "--root", imagenet, "--decode")
    assert result.stdout.count("1000 of 1000 images, 1000 classes") == 2
    assert result.stdout.count("images all decoded") == 2
    assert "train: verified" in result.stdout
    assert "val: verified" in result.stdout


def test_the_hashes_do_not_depend_on_the_layout(imagenet):
    (packed,) = json.loads(run("imagenet", "--root", imagenet, "--split", "val", "--json").stdout)
    unpacked(imagenet)
    (folders,) = json.loads(run("imagenet", "--root", imagenet, "--split", "val", "--json").stdout)
    assert packed["place"].endswith(".tar")
    assert {**packed, "place": ""} == {**folders, "place": ""}
    assert packed["problems"] == []


def test_missing_and_unreadable_images_are_named(imagenet):
    unpacked(imagenet)
    (imagenet / "val" / TRUTH[4] / "ILSVRC2012_val_00000005.JPEG").unlink()
    damaged = imagenet / "val" / TRUTH[8] / "ILSVRC2012_val_00000009.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    result = run("imagenet", "--root", imagenet, "--split", "val", "--decode", "--json", expect=1)
    (report,) = json.loads(result.stdout)
    assert report["missing"] == ["ILSVRC2012_val_00000005"]
    assert report["unreadable"] == ["ILSVRC2012_val_00000009"]
    assert (report["images"], report["required"], report["classes"]) == (999, 1000, 999)
    said = run("imagenet", "--root", imagenet, "--split", "val", "--decode", expect=1)
    for line in (
        "999 images, the official split has 1000",
        f"1 ({TRUTH[4]}) of 1000 classes without an image",
        "missing: 1 (ILSVRC2012_val_00000005)",
        "unreadable: 1 (ILSVRC2012_val_00000009)",
        f"image ILSVRC2012_val_00000009: {damaged} is corrupt: ",
    ):
        assert line in said.stdout
    assert "not verified: val" in said.stderr


def test_images_in_the_directory_of_another_class(imagenet):
    """The well-known mistake of taking the devkit's ids for the order of the wnids."""
    unpacked(imagenet, truth=(TRUTH[1], TRUTH[0], *TRUTH[2:]))
    result = run("imagenet", "--root", imagenet, "--split", "val", expect=1)
    assert "2 (ILSVRC2012_val_00000001, ILSVRC2012_val_00000002) in the directory of a class" in result.stdout


def test_another_archive_and_another_devkit(imagenet, monkeypatch):
    monkeypatch.setattr(verification, "DEVKIT_MD5", "0" * 32)
    monkeypatch.setitem(OFFICIAL, "val", Official(1000, "ILSVRC2012_img_val.tar", 1))
    result = run("imagenet", "--root", imagenet, expect=1)
    assert "train: verified" in result.stdout
    assert "bytes, the official archive 1" in result.stdout
    assert "is not the official devkit" in result.stdout


def test_a_split_that_is_not_there(imagenet):
    (imagenet / "ILSVRC2012_img_train.tar").unlink()
    result = run("imagenet", "--root", imagenet, expect=1)
    assert "no ImageNet images" in result.stdout
    assert "val: verified" in result.stdout
    run("imagenet", "--root", imagenet, "--split", "val")


def test_an_archive_cut_short(imagenet):
    archive = imagenet / "ILSVRC2012_img_val.tar"
    content = archive.read_bytes()
    archive.unlink()
    archive.write_bytes(content[: len(content) // 2])
    assert "damaged or cut short" in run("imagenet", "--root", imagenet, "--split", "val", expect=1).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("imagenet", "--root", "nowhere"), "nowhere: there is no such directory"),
        (("imagnet", "--root", "."), "unknown value of the data set 'imagnet': did you mean imagenet"),
        (("imagenet", "--root", ".", "--split", "test"), "unknown value of --split 'test'"),
        (("coco", "--root", ".", "--split", "val"), "unknown value of --split 'val': did you mean val2017"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ReproError, match=message):
        run(*arguments)


def test_the_real_imagenet_sample_is_a_part():
    directory = SHARED / "data" / "imagenet-sample"
    if not directory.is_dir():
        pytest.skip("needs the real ImageNet sample, ../shared/data/imagenet-sample, beside the checkout")
    (report,) = json.loads(
        run("imagenet", "--root", directory, "--split", "val", "--decode", "--json", expect=1).stdout
    )
    assert (report["images"], report["required"], report["classes"]) == (125, 50000, 125)
    assert (report["missing"], report["unreadable"], report["decoded"]) == ([], [], True)


# -- COCO -------------------------------------------------------------------------------------------------------------


def coco(root: Path, images: int = 3) -> Path:
    """As `coco_tiny`, generated: one object an image."""
    trees.write(root / "val2017", {f"{i:012d}.jpg": trees.photograph(i) for i in range(1, images + 1)})
    document = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "height": 30, "width": 40} for i in range(1, images + 1)],
        "categories": [{"id": i} for i in range(1, 81)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0,
             "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]]}
            for i in range(1, images + 1)
        ],
    }  # fmt: skip
    trees.write(root / "annotations", {"instances_val2017.json": json.dumps(document).encode()})
    return root


def test_coco(tmp_path, monkeypatch):
    root = coco(tmp_path)
    monkeypatch.setitem(verification._COCO, "val2017", (3, 3))
    assert "val2017: verified" in run("coco", "--root", root, "--split", "val2017", "--decode").stdout
    (root / "val2017" / "000000000002.jpg").unlink()
    (root / "val2017" / "000000000003.jpg").write_bytes(trees.photograph(3, (30, 40)))
    result = run("coco", "--root", root, "--split", "val2017", "--decode", expect=1)
    assert "2 of 3 images" in result.stdout
    assert "missing: 1 (000000000002.jpg)" in result.stdout
    assert "unreadable: 1 (000000000003.jpg)" in result.stdout
    assert "000000000003.jpg has (30, 40) pixels (width, height), the annotations say (40, 30)" in result.stdout


def test_a_part_of_coco_is_not_coco(coco_tiny):
    result = run("coco", "--root", coco_tiny, "--split", "val2017", expect=1)
    assert "80 images are annotated, in the official split 5000" in result.stdout
    assert "of 5000 images" in result.stdout


def test_no_coco(tmp_path):
    assert "no COCO annotations" in run("coco", "--root", tmp_path, "--split", "val2017", expect=1).stdout


def test_help_loads_no_torch():
    code = "import sys, repro.cli.data; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, cwd=ROOT)
