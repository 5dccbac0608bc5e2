"""The predictions file: the same bytes for the same predictions, and nothing read from a damaged one."""

import gzip
import hashlib
import io
import json

import numpy as np
import pytest

from repro.data.coco import Detections
from repro.errors import ReproError
from repro.evaluation.coco import load_predictions, save_predictions


def some(image_id, n, counts=b"c23a00000000Q="):
    generator = np.random.default_rng(image_id)
    return Detections(
        image_id=image_id,
        boxes=generator.random((n, 4), dtype=np.float32) * 1e3,
        scores=generator.random(n, dtype=np.float32),
        labels=generator.integers(0, 80, n),
        masks=[{"size": [20, 30], "counts": counts}] * n,
    )


PREDICTIONS = [some(9, 3), some(2, 0), some(5, 2)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions" / "a.json.gz"


def test_round_trip(path):
    save_predictions(PREDICTIONS, path)
    loaded = load_predictions(path)
    assert [one.image_id for one in loaded] == [2, 5, 9]
    for one, original in zip(loaded, sorted(PREDICTIONS, key=lambda one: one.image_id), strict=True):
        for name in ("boxes", "scores", "labels"):
            ours, theirs = getattr(one, name), getattr(original, name)
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, strict=True)
        assert one.masks == [{"size": [20, 30], "counts": "c23a00000000Q="}] * len(original.masks)


def test_the_same_bytes_for_the_same_predictions(path, tmp_path):
    sha256 = save_predictions(PREDICTIONS, path)
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == sha256
    text = [Detections(**{**vars(one), "masks": [{**mask, "counts": mask["counts"].decode()} for mask in one.masks]})
            for one in PREDICTIONS]  # fmt: skip
    assert save_predictions(iter(text[::-1]), tmp_path / "b.json.gz") == sha256
    assert save_predictions(load_predictions(path), tmp_path / "c.json.gz") == sha256
    assert path.read_bytes()[4:8] == bytes(4), "no time of writing"
    changed = some(9, 3)
    changed.scores[0] = np.nextafter(changed.scores[0], np.float32(1))
    assert save_predictions([changed, *PREDICTIONS[1:]], path) != sha256


@pytest.mark.parametrize("keep", [0, 5, 0.5, -1])
def test_a_truncated_file(path, keep):
    save_predictions(PREDICTIONS, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ReproError, match="Delete it to have the predictions made again") as raised:
        load_predictions(path)
    assert str(path) in str(raised.value)


def test_every_changed_byte_of_the_content_is_noticed(path):
    save_predictions(PREDICTIONS, path)
    content = path.read_bytes()
    # Ten bytes of header, eight of trailer; the last byte of the compressed data has bits that mean nothing.
    for position in [*range(10, len(content) - 9), *range(len(content) - 8, len(content))]:
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(bytes(damaged))
        with pytest.raises(ReproError):
            load_predictions(path)


def test_the_hash_does_not_depend_on_how_they_are_packed(path):
    """Python 3.10 and 3.11 write other headers, zlib and zlib-ng other bytes; old records have the file's hash."""
    sha256 = save_predictions(PREDICTIONS, path)
    content = gzip.decompress(path.read_bytes())
    for packed in (gzip.compress(content, 1, mtime=7), gzip.compress(content, 9, mtime=0), with_gzip_file(content)):
        path.write_bytes(packed)
        assert len(load_predictions(path, sha256)) == 3
        assert len(load_predictions(path, hashlib.sha256(packed).hexdigest())) == 3
    path.write_bytes(gzip.compress(content.replace(b"0.", b"1.", 1)))
    with pytest.raises(ReproError, match="are not the ones recorded"):
        load_predictions(path, sha256)


def with_gzip_file(content):
    packed = io.BytesIO()
    with gzip.GzipFile(filename="made/elsewhere", mode="wb", fileobj=packed, mtime=3) as file:
        file.write(content)
    return packed.getvalue()


def test_another_file_than_the_recorded_one(path):
    sha256 = save_predictions(PREDICTIONS, path)
    assert len(load_predictions(path, sha256)) == 3
    save_predictions(PREDICTIONS[:2], path)
    with pytest.raises(ReproError, match="are not the ones recorded"):
        load_predictions(path, sha256)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document[0].pop("boxes"), r"0\.boxes: Field required"),
        (lambda document: document[1]["boxes"][0].pop(), r"1\.boxes\.0"),
        (lambda document: document[1].update(scores=["high"] * 2), r"1\.scores\.0"),
        (lambda document: document[1].update(labels=[-1, 0]), r"1\.labels\.0"),
        (lambda document: document.__setitem__(0, {}), r"0\.image_id"),
    ],
)
def test_not_a_predictions_file(path, change, message):
    save_predictions(PREDICTIONS, path)
    document = json.loads(gzip.decompress(path.read_bytes()))
    change(document)
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    with pytest.raises(ReproError, match=f"{path} is not a predictions file: {message}"):
        load_predictions(path)


def test_no_file(path):
    with pytest.raises(ReproError, match="cannot be read: it does not exist"):
        load_predictions(path)


@pytest.mark.parametrize(("name", "value"), [("scores", np.nan), ("boxes", np.inf)])
def test_values_that_are_not_finite_are_not_saved(path, name, value):
    wrong = some(9, 3)
    getattr(wrong, name)[1] = value
    with pytest.raises(ReproError, match=r"image 9: a .* is not finite"):
        save_predictions([wrong], path)
    assert not path.exists()


def test_a_directory_that_cannot_be_written(path):
    path.parent.write_text("a file where the directory should be")
    with pytest.raises(ReproError, match="cannot write"):
        save_predictions(PREDICTIONS, path)
