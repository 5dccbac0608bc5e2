"""ImageNet in every layout, from good and bad files, against torchvision's own readers and transforms."""

import gzip
import hashlib
import io
import os
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import imagenet_trees as trees
import numpy as np
import pytest
import torch
from imagenet_trees import DEVKIT_IDS, TRUTH, WNIDS
from PIL import Image
from places import SHARED
from scipy import stats
from torchvision import datasets, transforms
from torchvision.datasets import imagenet as peer
from torchvision.models import ResNet50_Weights
from torchvision.transforms._presets import ImageClassification

from repro.data import classification, pictures, storage, synsets
from repro.data.classification import Augmentation, collate, normalise, prepare_evaluation_image, recolor
from repro.data.imagenet import ImageNet
from repro.data.pictures import UnreadableImage
from repro.errors import ReproError
from repro.experiments import preprocessing as formats
from repro.experiments.preprocessing import Preprocessing

SMALL = Preprocessing(resize=20, crop=16)
CROP = Augmentation(size=24)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def photographs():
    directory = SHARED / "data" / "imagenet-sample"
    if not directory.is_dir():
        pytest.skip("needs the real ImageNet sample, ../shared/data/imagenet-sample, beside the checkout")
    return directory


@pytest.fixture
def official(tmp_path):
    root = tmp_path / "official"
    trees.write_official(root)
    return root


def opened(root, split="val", wnids=WNIDS):
    return ImageNet(root, split, SMALL, CROP, wnids)


def classes_of(data):
    return {image_id: data.wnids[label] for image_id, label in zip(data.ids, data.labels, strict=True)}


def flat(root, truth=TRUTH):
    trees.write(root / "val", trees.validation())
    trees.write_devkit(root, truth=truth)
    return root


# -- which images there are, and what they are of ---------------------------------------------------------------------


def test_the_classes_are_ilsvrc2012s():
    timm = pytest.importorskip("timm.data")
    assert timm.ImageNetInfo("imagenet-1k").label_names() == list(synsets.WNIDS)


def test_official_archives_as_torchvision_unpacks_them(official, monkeypatch):
    """torchvision's reader checks the md5 of the real archives, so it is told those of ours."""
    for name, (file, _) in peer.ARCHIVE_META.items():
        md5 = hashlib.md5((official / file).read_bytes()).hexdigest()
        monkeypatch.setitem(peer.ARCHIVE_META, name, (file, md5))
    packed = {split: opened(official, split) for split in ("train", "val")}
    assert all(data.place.suffix == ".tar" for data in packed.values())
    for split, data in packed.items():
        theirs = datasets.ImageFolder(str(_unpacked(official, split)))
        folder = opened(official, split)
        assert folder.place == official / split
        assert folder.ids == data.ids == sorted(Path(path).stem for path, _ in theirs.samples)
        assert classes_of(folder) == classes_of(data)
        assert classes_of(data) == {Path(path).stem: theirs.classes[label] for path, label in theirs.samples}
        assert folder.ids_sha256 == data.ids_sha256
        assert folder.annotations_sha256 == data.annotations_sha256
        for i in range(len(data)):
            for arguments in ({}, {"train": True, "seed": 3}):
                assert torch.equal(data.sample(i, **arguments).image, folder.sample(i, **arguments).image)


def test_what_a_download_did_not_finish_is_no_image(tmp_path, capsys):
    flat(tmp_path)
    before = opened(tmp_path)
    for name in ("ILSVRC2012_val_00009999.tmp.JPEG", "ILSVRC2012_val_00009998.JPEG"):
        shutil.copy(tmp_path / "val" / f"{before.ids[0]}.JPEG", tmp_path / "val" / name)
    (tmp_path / "val" / "ILSVRC2012_val_00009998.JPEG.aria2").write_bytes(b"")
    assert opened(tmp_path).ids == before.ids
    assert "left out is what downloads did not finish, 2 of " in capsys.readouterr().err


def test_what_macos_packs_beside_images_is_none(tmp_path):
    """Its tar writes `._x` with a file's attributes beside each file: also beside archives, and `.DS_Store`."""
    trees.write_official(tmp_path)
    before, beside = opened(tmp_path, "train"), b"\0\5\26\7 Mac OS X"
    content = [before.read_file(i) for i in range(len(before))]
    path = tmp_path / "ILSVRC2012_img_train.tar"
    archives = {f"._{WNIDS[0]}.tar": beside, ".DS_Store": b""}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            inner = {f"._{member.name}_1.JPEG": beside, ".cache/n_2.JPEG": beside}
            with tarfile.open(fileobj=archive.extractfile(member)) as images:
                inner |= {image.name: images.extractfile(image).read() for image in images.getmembers()}
            archives[member.name] = trees.tar({**inner, "n_3.JPEG": beside, "n_3.JPEG.part": beside})
    path.write_bytes(trees.tar(archives))
    after = opened(tmp_path, "train")
    assert (after.ids, after.annotations_sha256) == (before.ids, before.annotations_sha256)
    assert [after.read_file(i) for i in range(len(after))] == content


def _unpacked(root, split):
    if split == "train":
        peer.parse_train_archive(str(root))
    else:
        wnids = peer.load_meta_file(str(root))[1] if (root / peer.META_FILE).exists() else None
        if wnids is None:
            peer.parse_devkit_archive(str(root))
            wnids = peer.load_meta_file(str(root))[1]
        peer.parse_val_archive(str(root), wnids=wnids)
    return root / split


def test_the_flat_directory_takes_the_classes_from_the_devkit(tmp_path):
    data = opened(flat(tmp_path))
    assert classes_of(data) == {f"ILSVRC2012_val_{i:08d}": wnid for i, wnid in enumerate(TRUTH, 1)}
    assert data.labels.tolist() == [2, 0, 1, 0, 2], "ascending wnids, not the devkit's ids"
    assert data.missing == []
    (tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG").unlink()
    fewer = opened(tmp_path)
    assert fewer.missing == ["ILSVRC2012_val_00000002"]
    assert len(fewer) == 4
    assert fewer.ids_sha256 != data.ids_sha256


def test_the_annotations_hash_follows_the_classes(tmp_path):
    one, other = opened(flat(tmp_path / "a")), opened(flat(tmp_path / "b", TRUTH[::-1]))
    assert one.ids_sha256 == other.ids_sha256
    changed = opened(flat(tmp_path / "c", (*TRUTH[:4], "n00000200")))
    assert one.annotations_sha256 != changed.annotations_sha256


def test_the_real_sample_by_name_and_by_id(photographs):
    data = ImageNet(photographs, "val")
    assert (len(data), data.required) == (125, 50000)
    names = ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    for image_id, label in zip(data.ids, data.labels, strict=True):
        wnid, _, name = image_id.partition("_")  # the sample's files are named for their class
        assert synsets.WNIDS[label] == wnid
        assert names[label].replace(" ", "_").lower() == name.lower()


def test_the_archives_index_is_kept_until_the_archive_changes(official, cache, monkeypatch):
    first = opened(official)
    reading = []
    monkeypatch.setattr(tarfile, "open", lambda *a, _open=tarfile.open, **k: reading.append(a or k) or _open(*a, **k))
    opened(official, "val")
    assert len(reading) == 1, "the devkit alone"
    (index,) = (cache / "archives").glob("*.npz")
    whole = index.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        found = storage._load_index(index)
        assert found is None or len(found[0]) == len(found[1])
    index.write_bytes(whole[:-100])
    assert opened(official).ids == first.ids
    more = (*TRUTH, "n00000200")
    trees.write(official, {"ILSVRC2012_img_val.tar": trees.tar(trees.validation(more))})
    trees.write_devkit(official, truth=more)
    assert len(opened(official)) == 6


def test_a_data_set_goes_to_another_process(official):
    data = opened(official, "train")
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.sample(1).image, data.sample(1).image)


# -- faults -----------------------------------------------------------------------------------------------------------


def _no_directory(root):
    return "neither .*val/ nor .*ILSVRC2012_img_val.tar is there"


def _empty(root):
    (root / "val").mkdir()
    return "val holds no image"


def _unknown_class(root):
    trees.write(root / "val" / "n99999999", {"a.JPEG": trees.photograph(1)})
    return "n99999999 is none of the 3 classes"


def _twice(root):
    for wnid in WNIDS[:2]:
        trees.write(root / "val" / wnid, {"a.JPEG": trees.photograph(1)})
    return "n00000100/a.JPEG and n00000200/a.JPEG have the same id, a"


def _no_devkit(root):
    flat(root)
    (root / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    return "no ILSVRC2012 devkit: .*ILSVRC2012_devkit_t12.tar.gz is missing"


def _devkit_too_short(root):
    flat(root, TRUTH[:4])
    return "ILSVRC2012_val_00000005 is none of the devkit's images"


def _mixed(root):
    flat(root)
    trees.write(root / "val" / WNIDS[0], {"a.JPEG": trees.photograph(1)})
    return "is in no directory of a class"


def _devkit_cut(root):
    path = flat(root) / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(path.read_bytes()[:-200])
    return "ILSVRC2012_devkit_t12.tar.gz is damaged"


def _devkit_of_others(root):
    flat(root)
    trees.write_devkit(root, ids={"n00000300": 1, "n00000100": 2, "n00000400": 3}, truth=TRUTH[:2])
    return "lists 3 classes, which are not the 3 of the data set: n00000200, n00000400"


def _devkit_without_truth(root):
    content = {"ILSVRC2012_devkit_t12/data/meta.mat": trees.devkit(DEVKIT_IDS, TRUTH)["data/meta.mat"]}
    trees.write(flat(root), {"ILSVRC2012_devkit_t12.tar.gz": trees.tar(content, "w:gz")})
    return "is no ILSVRC2012 devkit: .*ILSVRC2012_validation_ground_truth.txt"


def _devkit_unknown_id(root):
    trees.write_devkit(flat(root), change={"data/ILSVRC2012_validation_ground_truth.txt": b"1\n2\n4\n"})
    return "ground_truth.txt, line 3: '4' is the id of none of the 3 classes"


def _archive_cut_in_an_image(root):
    return _archive(root, lambda content: content[:2000])


def _archive_cut_after_an_image(root):
    return _archive(root, lambda content: content[:-10240])


def _archive_header_damaged(root):
    def damage(content):
        at = content.index(b"ILSVRC2012_val_00000003")
        return content[:at] + b"X" + content[at + 1 :]

    return _archive(root, damage)


def _archive(root, damage):
    trees.write_official(root)
    path = root / "ILSVRC2012_img_val.tar"
    path.write_bytes(damage(path.read_bytes()))
    return "ILSVRC2012_img_val.tar is damaged or cut short"


def _archive_of_links(root):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("ILSVRC2012_val_00000001.JPEG")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    trees.write_devkit(root)
    trees.write(root, {"ILSVRC2012_img_val.tar": content.getvalue()})
    return "ILSVRC2012_val_00000001.JPEG is no plain file"


def _forge(root, members, name="ILSVRC2012_img_val.tar"):
    """An archive of headers as given: (name, type, size, content)."""
    content = []
    for file, kind, size, data in members:
        member = tarfile.TarInfo(file)
        member.type = kind
        head = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
        head[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
        head[148:156] = b"        "
        head[148:156] = b"%06o\0 " % sum(head)
        content += [bytes(head), data, bytes(-len(data) % 512)]
    trees.write_devkit(root)
    trees.write(root, {name: b"".join(content) + bytes(1024)})


def _archive_of_many_headers(root):
    """tarfile reads each header of a file with a function that calls itself."""
    record = b"16 comment=1234\n"
    _forge(root, [("p", tarfile.XHDTYPE, len(record), record)] * 10_000)
    return "damaged or cut short: more headers in a row than a file has"


def _archive_of_a_huge_header(root):
    _forge(root, [("p", tarfile.XHDTYPE, 2 << 30, b"x")])
    return "damaged or cut short: a header at byte 512 has 2147483648 bytes"


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.DIRTYPE, b"Q"])
@pytest.mark.parametrize("place", ["archive", "devkit"])
def test_a_negative_size_does_not_hang(tmp_path, kind, place):
    if place == "archive":
        _forge(tmp_path, [("a.JPEG", kind, -512, b"")])
    else:
        _forge(tmp_path, [("a", kind, -512, b"")], name="devkit.tar")
        path = flat(tmp_path) / "ILSVRC2012_devkit_t12.tar.gz"
        path.write_bytes(gzip.compress((tmp_path / "devkit.tar").read_bytes()))
    with pytest.raises(ReproError, match=r"is damaged|holds no image|no ILSVRC2012 devkit"):
        opened(tmp_path)


def _archive_of_a_sparse_file(root):
    """GNU tar leaves out the holes of such a file: what lies in the archive is not its content."""
    members = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "ILSVRC2012_val_00000001.JPEG",
               "GNU.sparse.realsize": "2000"}  # fmt: skip
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("GNUSparseFile.0/ILSVRC2012_val_00000001.JPEG")
        member.pax_headers, data = members, b"1\n1500\n500\n".ljust(512, b"\0") + b"x" * 500
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    trees.write_devkit(root)
    trees.write(root, {"ILSVRC2012_img_val.tar": content.getvalue()})
    return "ILSVRC2012_val_00000001.JPEG is no plain file"


def _devkit_that_unpacks_to_more(root):
    """3 GB in 3 MB."""
    flat(root)
    content = gzip.compress(bytes(1 << 24)) * 192
    assert len(content) < 4 << 20
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(content)
    return "devkit_t12.tar.gz is no ILSVRC2012 devkit: unpacked, it has more than 67108864 bytes"


def _devkit_of_many_headers(root):
    flat(root)
    record = b"16 comment=1234\n"
    _forge(root, [("p", tarfile.XHDTYPE, len(record), record)] * 10_000, name="devkit.tar")
    (root / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress((root / "devkit.tar").read_bytes()))
    return "devkit_t12.tar.gz is damaged: more headers in a row than a file has"


def _devkit_with_a_line_missing(root):
    """Of the images after it, each would have had the class of the next."""
    lines = "".join(f"{DEVKIT_IDS[wnid]}\n" for wnid in TRUTH)
    truth = lines[:2] + "\n" + lines[4:]
    trees.write_devkit(flat(root), change={"data/ILSVRC2012_validation_ground_truth.txt": truth.encode()})
    return "ground_truth.txt, line 2: '' is the id of none of the 3 classes"


FAULTS = [_archive_of_many_headers, _archive_of_a_huge_header, _archive_of_a_sparse_file,
          _devkit_that_unpacks_to_more, _devkit_of_many_headers, _devkit_with_a_line_missing,
          _no_directory, _empty, _unknown_class, _twice, _no_devkit, _devkit_too_short, _mixed, _devkit_cut,
          _devkit_of_others, _devkit_without_truth, _devkit_unknown_id, _archive_cut_in_an_image,
          _archive_cut_after_an_image, _archive_header_damaged, _archive_of_links]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_faults_are_explained(tmp_path, fault):
    message = fault(tmp_path)
    with pytest.raises(ReproError, match=message):
        opened(tmp_path)


def test_a_damaged_devkit_is_refused_wherever_the_damage_is(tmp_path):
    path = flat(tmp_path) / "ILSVRC2012_devkit_t12.tar.gz"
    whole, expected = path.read_bytes(), classes_of(opened(tmp_path))
    found = []
    for at in range(10, len(whole) - 4, 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        found.append(_outcome(tmp_path))
    # Some bits mean nothing: compressed data are filled up to whole bytes.
    assert all(one == expected or "devkit_t12.tar.gz is damaged" in one for one in found)
    assert sum(one == expected for one in found) < 3


def _outcome(root):
    try:
        return classes_of(opened(root))
    except ReproError as error:
        return str(error)


def test_a_devkit_with_another_meta_file(tmp_path):
    for content in (b"", b"not MATLAB's", trees.devkit(DEVKIT_IDS, TRUTH)["data/meta.mat"][:-200]):
        trees.write_devkit(flat(tmp_path), change={"data/meta.mat": content})
        with pytest.raises(ReproError, match=r"devkit_t12.tar.gz: data/meta.mat cannot be read"):
            opened(tmp_path)


def test_training_images_outside_of_classes(tmp_path):
    trees.write(tmp_path / "train", {"a.JPEG": trees.photograph(1)})
    with pytest.raises(ReproError, match="a is in no directory of a class"):
        opened(tmp_path, "train")


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "gone"])
def test_unreadable_images_are_named(tmp_path, damage, train):
    data = opened(flat(tmp_path))
    path = tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"truncated": path.read_bytes()[:-300], "empty": b"", "text": b"<html>no access</html>"}[damage]
        )
    data.sample(0, train=train)
    with pytest.raises(
        UnreadableImage, match=r"image ILSVRC2012_val_00000002: .*02\.JPEG (is corrupt|cannot be read): "
    ) as caught:
        data.sample(1, train=train)
    assert caught.value.image_id == "ILSVRC2012_val_00000002"


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_photograph_is_named(tmp_path, monkeypatch, packed):
    """In a directory and in an archive: too large a file, an EPS and a picture like a thread."""
    trees.write_devkit(tmp_path)
    files = trees.validation()
    eps, large, thread = (f"ILSVRC2012_val_{i:08d}" for i in (1, 2, 3))
    files[f"{eps}.JPEG"] = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n"
    files[f"{large}.JPEG"] = trees.photograph(2) + bytes(10**5)
    files[f"{thread}.JPEG"] = trees.encoded(Image.new("RGB", (60000, 4)), "JPEG")
    if packed:
        trees.write(tmp_path, {"ILSVRC2012_img_val.tar": trees.tar(files)})
    else:
        trees.write(tmp_path / "val", files)
    monkeypatch.setattr(pictures, "MOST_BYTES", 10**5)
    data = ImageNet(tmp_path, "val", Preprocessing(resize=256, crop=224), wnids=trees.WNIDS)
    reasons = {
        eps: "is corrupt: it is no JPEG or PNG",
        large: "cannot be read: it has 1",
        thread: "is corrupt: it has 6",
    }
    for index, image_id in enumerate(data.ids):
        if image_id in reasons:
            with pytest.raises(
                UnreadableImage, match=rf"image {image_id}: .*{image_id}.* {reasons[image_id]}"
            ) as caught:
                data.sample(index)
            assert caught.value.image_id == image_id
        else:
            data.sample(index)


def test_an_archive_that_shrinks_meanwhile(tmp_path):
    trees.write_devkit(tmp_path)
    trees.write(tmp_path, {"ILSVRC2012_img_val.tar": trees.tar(trees.validation())})
    data = opened(tmp_path)
    os.truncate(data.place, 2000)
    with pytest.raises(UnreadableImage, match=r"val_00000005.*: the archive ends within it"):
        data.sample(4)
    data.place.unlink()
    os.mkfifo(data.place)
    with pytest.raises(UnreadableImage, match=r"val_00000001: .*img_val\.tar cannot be read: it is no regular file"):
        data.sample(0)


# -- decoding ---------------------------------------------------------------------------------------------------------

_PNG = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8))
_EXIF = Image.Exif()
_EXIF[274] = 6  # to be turned by 90 degrees
ODD = {
    "gray": trees.photograph(1, mode="L"),
    "cmyk": trees.photograph(2, mode="CMYK"),
    "png with alpha": trees.encoded(_PNG, "PNG"),
    "png with a palette": trees.encoded(_PNG.convert("P"), "PNG"),
    "rotated by exif": trees.photograph(3, exif=_EXIF),
    "progressive": trees.photograph(4, progressive=True),
    "odd size, 4:2:0": trees.photograph(5, (37, 23), subsampling=2),
    "stored as rgb": trees.encoded(_PNG.convert("RGB"), "JPEG", keep_rgb=True),
    "4:4:4": trees.photograph(6, subsampling=0),
    "bytes after the end": trees.photograph(7) + b"more",
}


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("kind", ODD)
def test_odd_files_as_image_folder_reads_them(tmp_path, kind):
    trees.write(tmp_path / "val" / WNIDS[0], {"a.JPEG": ODD[kind]})
    image, _ = datasets.ImageFolder(str(tmp_path / "val"))[0]
    expected = np.asarray(image)
    np.testing.assert_array_equal(np.asarray(pictures.decode_image(ODD[kind])), expected)
    np.testing.assert_array_equal(pictures.decode_pixels(ODD[kind]), expected)
    opened(tmp_path).check(0)


def test_real_photographs_as_image_folder_reads_them(photographs):
    folder = datasets.ImageFolder(str(photographs / "val"))
    for i in range(0, 125, 5):
        content = Path(folder.samples[i][0]).read_bytes()
        np.testing.assert_array_equal(pictures.decode_pixels(content), np.asarray(folder[i][0]))


# -- evaluation -------------------------------------------------------------------------------------------------------


@pytest.mark.rounding
def test_evaluation_is_torchvisions_preset_bit_for_bit_on_real_photographs(photographs):
    data, preset = ImageNet(photographs, "val"), ImageClassification(crop_size=224)
    folder = datasets.ImageFolder(str(photographs / "val"), transform=preset)
    theirs = {Path(path).stem: i for i, (path, _) in enumerate(folder.samples)}
    for i in range(0, 125, 2):
        batch = collate([data.sample(i)])
        ours = normalise(batch.images, data.preprocessing)[0]
        assert torch.equal(ours, folder[theirs[batch.image_ids[0]]][0]), batch.image_ids[0]


@pytest.mark.rounding
@pytest.mark.parametrize("size", [(256, 256), (224, 1000), (999, 257), (255, 256), (64, 65), (451, 300), (300, 451)])
@pytest.mark.parametrize("entry", ["torchvision/any", "timm/any", "timm/resnet50.a1_in1k"])
def test_evaluation_is_torchvisions_preset_for_any_size(size, entry):
    theirs = {
        "torchvision/any": ImageClassification(crop_size=224),
        "timm/any": ImageClassification(crop_size=224, interpolation=transforms.InterpolationMode.BICUBIC),
        "timm/resnet50.a1_in1k": ImageClassification(
            crop_size=224, resize_size=235, interpolation=transforms.InterpolationMode.BICUBIC
        ),
    }[entry]
    image = pictures.decode_image(trees.photograph(sum(size), size))
    ours = formats.preprocessing_for(entry.partition("/")[0], entry)
    assert torch.equal(normalise(prepare_evaluation_image(image, ours)[None], ours)[0], theirs(image))


@pytest.mark.rounding
def test_the_opencv_resizer_samples_two_pixels_a_direction():
    """Against the formula in float64: no wider filter where the image shrinks, as OpenCV's INTER_LINEAR."""
    ours = formats.preprocessing_for("mmpretrain")
    picture = pictures.decode_image(trees.photograph(0, (700, 512)))
    pixels = np.asarray(picture, dtype=np.float64)

    def taken(new, old):
        centre = ((np.arange(new) + 0.5) * old / new - 0.5).clip(0, old - 1)
        low = centre.astype(int)
        return low, np.minimum(low + 1, old - 1), centre - low

    low, high, share = taken(256, 512)
    rows = pixels[low] * (1 - share)[:, None, None] + pixels[high] * share[:, None, None]
    low, high, share = taken(350, 700)
    whole = rows[:, low] * (1 - share)[:, None] + rows[:, high] * share[:, None]
    image = prepare_evaluation_image(picture, ours)
    np.testing.assert_allclose(image.permute(1, 2, 0).numpy(), whole[16:240, 63:287], atol=0.501)
    expected = (image.double() - torch.tensor(ours.mean).view(3, 1, 1)) / torch.tensor(ours.std).view(3, 1, 1)
    torch.testing.assert_close(normalise(image[None], ours)[0], expected.float())


def test_bgr_and_video_preprocessing():
    image = torch.arange(12, dtype=torch.uint8).view(1, 3, 2, 2)
    bgr = normalise(image, replace(SMALL, color="BGR"))
    assert torch.equal(bgr, normalise(image.flip(1), SMALL))
    with pytest.raises(ReproError, match="for videos"):
        prepare_evaluation_image(Image.new("RGB", (30, 30)), formats.preprocessing_for("pytorchvideo"))


# -- training ---------------------------------------------------------------------------------------------------------


def test_training_samples_are_a_function_of_seed_epoch_and_index(official):
    data = opened(official, "train")

    def drawn(index=1, seed=0, epoch=0):
        one = data.sample(index, seed=seed, epoch=epoch, train=True)
        assert one.image.shape == (3, 24, 24)
        assert one.image.dtype == torch.uint8
        return one.image.tolist(), one.color.tolist()

    first = drawn()
    torch.manual_seed(1)
    drawn(2)
    assert drawn() == first
    assert all(drawn(**other) != first for other in ({"seed": 1}, {"epoch": 1}, {"index": 2}))


def test_rectangles_are_distributed_as_torchvisions():
    height, width, n = 375, 500, 3000
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([transforms.RandomResizedCrop.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(n)])
    generator = np.random.default_rng(0)
    ours = np.array([classification.choose_rectangle(height, width, Augmentation(), generator) for _ in range(n)])
    for of in (lambda r: r[:, 0], lambda r: r[:, 1], lambda r: r[:, 2] * r[:, 3], lambda r: r[:, 3] / r[:, 2]):
        assert stats.ks_2samp(of(ours), of(theirs)).pvalue > 0.01
    assert (ours[:, 0] + ours[:, 2]).max() <= height
    assert (ours[:, 1] + ours[:, 3]).max() <= width


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000), (333, 31)])
def test_elongated_images_get_torchvisions_centre(size):
    """With an area that never fits, both fall back on the largest rectangle in the centre."""
    theirs = transforms.RandomResizedCrop.get_params(torch.empty(3, *size), (1.0, 1.0), (3 / 4, 4 / 3))
    augmentation = Augmentation(area=(1.0, 1.0))
    assert classification.choose_rectangle(*size, augmentation, np.random.default_rng(0)) == theirs


@pytest.mark.rounding
def test_training_crops_differ_from_pillows_by_rounding_alone(photographs):
    data = ImageNet(photographs, "val", augmentation=Augmentation(flip=0))
    shares = []
    for i in range(0, 125, 12):
        path = next(photographs.glob(f"val/*/{data.ids[i]}.JPEG"))
        picture = pictures.decode_image(path.read_bytes())
        generator = np.random.default_rng([5, 0, i])
        top, left, height, width = classification.choose_rectangle(
            picture.height, picture.width, data.augmentation, generator
        )
        crop = picture.crop((left, top, left + width, top + height)).resize((224, 224), Image.Resampling.BILINEAR)
        ours = data.sample(i, seed=5, train=True).image.permute(1, 2, 0).numpy()
        difference = np.abs(ours.astype(int) - np.asarray(crop))
        assert difference.max() <= 2
        shares.append((difference > 0).mean())
    assert np.mean(shares) < 0.05


def test_half_of_the_images_are_flipped(tmp_path):
    """A picture that is dark on the left: its brighter half tells."""
    gradient = Image.fromarray(np.tile(np.arange(0, 240, 6, dtype=np.uint8), (40, 1)))
    trees.write(tmp_path / "train" / WNIDS[0], {"a.png": trees.encoded(gradient, "PNG")})
    data = opened(tmp_path, "train")
    flipped = [
        bool(image[:, :, 0].sum() > image[:, :, -1].sum())
        for image in (data.sample(0, epoch=epoch, train=True).image.int() for epoch in range(400))
    ]
    assert stats.binomtest(sum(flipped), 400, 0.5).pvalue > 0.01


class _Draws:
    """A generator that gives what it is told."""

    def __init__(self, factors, order, noise=(0.0, 0.0, 0.0)):
        self.factors, self.order, self.noise = factors, order, noise

    def uniform(self, low, high, size):
        assert (low, high, size) == (0.6, 1.4, 3)
        return np.array(self.factors)

    def permutation(self, n):
        return self.order[:n]

    def normal(self, mean, deviation, size):
        assert (mean, deviation, size) == (0.0, 0.1, 3)
        return np.array(self.noise)


@pytest.mark.rounding
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_colour_changes_as_torchvisions(order):
    """On an image whose colours stay within range, since torchvision clips after each change."""
    image = torch.randint(90, 160, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    factors = (1.2, 0.7, 1.3)
    changes = (transforms.functional.adjust_brightness, transforms.functional.adjust_contrast,
               transforms.functional.adjust_saturation)  # fmt: skip
    theirs = image.float() / 255
    for kind in order:
        theirs = changes[kind](theirs, factors[kind])
    change = classification.choose_color_change(image, Augmentation(), _Draws(factors, order))
    ours = recolor(image[None], torch.from_numpy(change)[None].float())[0]
    torch.testing.assert_close(ours / 255, theirs, atol=5e-4, rtol=0)  # torchvision: 0.2989, 0.587, 0.114


def test_lighting_noise_is_along_the_principal_components():
    """Against Krizhevsky et al.: [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T is added to every pixel."""
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    change = classification.choose_color_change(image, Augmentation(), _Draws((1, 1, 1), (0, 1, 2), (1.0, 0.0, 0.0)))
    np.testing.assert_allclose(change[:, 3], [-0.5675 * 55.46, -0.5808 * 55.46, -0.5836 * 55.46])
    np.testing.assert_allclose(change[:, :3], np.eye(3), atol=1e-12)


def test_colours_that_are_not_changed_stay_as_they_are():
    image = torch.randint(0, 256, (3, 9, 9), dtype=torch.uint8)
    change = classification.choose_color_change(image, Augmentation(jitter=0.0, lighting=0.0), np.random.default_rng(0))
    np.testing.assert_allclose(change, np.eye(3, 4), atol=1e-12)


def test_a_shift_adds_a_whole_number_to_each_channel():
    image = torch.zeros(3, 9, 9, dtype=torch.uint8)
    augmentation, generator = Augmentation(jitter=0.0, lighting=0.0, shift=20), np.random.default_rng(0)
    shifts = np.stack([classification.choose_color_change(image, augmentation, generator)[:, 3] for _ in range(2000)])
    assert set(shifts.ravel()) == set(range(-20, 21))
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.1  # channels have their own


def test_the_square_is_rotated_about_its_centre_and_its_corners_filled_with_the_mean():
    image = torch.full((3, 200, 200), 255, dtype=torch.uint8)
    augmentation = Augmentation(area=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, rotation=10.0)
    corners, filled = set(), []
    for seed in range(40):
        square, _ = classification.prepare_training_image(image, augmentation, np.random.default_rng(seed))
        assert square[:, 112, 112].tolist() == [255, 255, 255]
        corners.add(tuple(square[:, 0, 0].tolist()))
        filled.append(int((square[0] < 255).sum()))
    assert (124, 116, 104) in corners
    assert max(filled) > 3 * min(filled)  # by various angles
    still, _ = classification.prepare_training_image(
        image, replace(augmentation, rotation=0.0), np.random.default_rng(0)
    )
    assert (still == 255).all()


@pytest.mark.rounding
def test_a_batch_is_recolored_image_by_image_and_is_channels_last_then(official):
    data = opened(official, "train")
    samples = [data.sample(i, train=True) for i in range(4)]
    batch = collate(samples)
    assert torch.equal(batch.images, torch.stack([one.image for one in samples]))
    assert batch.labels.tolist() == data.labels[:4].tolist()
    assert batch.image_ids == data.ids[:4]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = recolor(batch.images, batch.colors)
    assert images.dtype == torch.float32
    for image, one in zip(images, samples, strict=True):
        pixels = torch.cat([one.image.double().flatten(1), torch.ones(1, 24 * 24)])
        torch.testing.assert_close(image.double().flatten(1), one.color.double() @ pixels, atol=1e-3, rtol=0)
    assert normalise(images, SMALL).is_contiguous(memory_format=torch.channels_last)
    assert collate([data.sample(0)]).colors is None
