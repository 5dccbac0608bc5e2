"""How much of a data set is on disk."""

from __future__ import annotations

import json

import pytest

from repro.data import sources
from repro.errors import ReproError
from repro.planning.data_here import DataHere, count_here


def test_the_real_sample_is_no_data_set(coco_tiny):
    here = count_here("coco", coco_tiny)
    assert (here.training, here.validation) == (80, 80)
    assert "80 of 117,266 images to train on, 80 of 5,000 to evaluate" in str(here)
    assert "cannot be a reproduction" in str(here)


def write_coco(root, split: str, listed: list[int], with_object: list[int], there: list[int]) -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / split).mkdir()
    for number in there:
        (root / split / f"{number}.jpg").touch()
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in listed],
        "annotations": [{"image_id": number} for number in with_object],
    }
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def test_an_image_counts_if_it_is_listed_and_there_and_in_training_has_an_object(tmp_path):
    write_coco(tmp_path / "coco", "train2017", listed=[1, 2, 3, 4], with_object=[1, 2, 3, 3], there=[2, 3, 4, 9])
    write_coco(tmp_path / "coco", "val2017", listed=[5, 6, 7], with_object=[5], there=[5, 6])
    here = count_here("coco", tmp_path)
    assert (here.root, here.training, here.validation) == (tmp_path / "coco", 2, 2)


def test_of_the_official_list_the_files_are_counted(tmp_path, monkeypatch):
    for split in ("train2017", "val2017"):
        write_coco(tmp_path, split, listed=[], with_object=[], there=[1, 2, 3])
    monkeypatch.setattr(sources, "_hash_file", lambda path, changed: sources.ANNOTATIONS_SHA256[path.stem[10:]])
    here = count_here("coco", tmp_path)
    assert (here.training, here.validation) == (3, 3)


@pytest.mark.parametrize("content", ["[]", "{", '{"images": [{}]}', '{"images": 3}'])
def test_a_file_that_is_no_list_is_named(content, tmp_path):
    for split in ("train2017", "val2017"):
        write_coco(tmp_path, split, listed=[], with_object=[], there=[])
    (tmp_path / "annotations" / "instances_train2017.json").write_text(content)
    with pytest.raises(ReproError, match=r"instances_train2017\.json"):
        count_here("coco", tmp_path)


def test_as_many_as_the_paper_took_is_whole_and_no_copy_of_kinetics_is(tmp_path):
    # COCO: 118,287 files, of which 117,266 have an object; the paper, section 4.1: 118k and 5k images.
    whole = DataHere("coco", tmp_path, 118287, 5000)
    assert whole.whole
    assert "117,266 of 117,266" in str(whole)
    assert "cannot be" not in str(whole)
    kinetics = DataHere("kinetics", tmp_path, 234619, 19761)
    assert "no copy has all videos" in str(kinetics)
    assert "cannot be" in str(DataHere("imagenet", tmp_path, 1281166, 50000))
