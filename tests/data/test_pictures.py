"""Picture files: which are opened, what becomes of their pixels, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from exif_data import ORIENTATION, make_exif, put_into_jpeg
from imagenet_trees import encoded, photograph
from PIL import Image, ImageFile

from repro.analysis.images import Photographs
from repro.data import pictures
from repro.data.pictures import UndecodablePicture, UnreadableImage, decode_image, decode_pixels, read_upright

EVERY_FORMAT = ("JPEG", "PNG", "BMP", "WEBP")
SCENE = Image.open(io.BytesIO(photograph(0)))
NOISE = np.random.default_rng(0).integers(0, 2**16, (30, 40, 4), np.uint16)

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 30
%%EndComments
(trace) (w) file closefile
showpage
"""
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture
def cv2():
    return pytest.importorskip("cv2", reason="OpenCV is not installed: `nox -s tests` installs requirements-peers.lock")


def read_as_mmcv(cv2, content: bytes) -> np.ndarray:
    """Its `imread` with its defaults, RGB."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def with_orientation(image: Image.Image, kind: str, orientation: int, **options) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(image, kind, exif=exif, **options)


# -- what is opened ---------------------------------------------------------------------------------------------------


def test_no_other_program_is_started(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nopen({str(trace)!r}, 'w')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # it looks for the program once
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "000000000139.jpg"
    path.write_bytes(EPS)
    for read in (decode_image, decode_pixels):
        with pytest.raises(UndecodablePicture, match="no JPEG or PNG file"):
            read(EPS)
    with pytest.raises(UnreadableImage, match=r"image 139: .*139\.jpg is corrupt: it is no JPEG or PNG") as caught:
        read_upright(path, "139", what="image 139:")
    assert caught.value.image_id == "139"
    with pytest.raises(UnreadableImage, match=r"139\.jpg is corrupt: it is no JPEG or PNG or BMP or WEBP"):
        Photographs([path], 32, 64).pixels(0)
    assert not trace.exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "TGA", "ICO", "PDF", "JPEG2000", "AVIF", "BMP", "WEBP"])
def test_other_formats_are_refused(kind):
    if kind not in Image.registered_extensions().values() or kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    with pytest.raises(UndecodablePicture, match="no JPEG or PNG"):
        decode_image(encoded(SCENE, kind))


# -- pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_as_opencv_turns_them(cv2, tmp_path, kind, orientation):
    """1 to 8, and two values without a meaning."""
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(SCENE, kind, orientation, quality=90))
    expected = read_as_mmcv(cv2, path.read_bytes())
    assert expected.shape == ((40, 30, 3) if 5 <= orientation <= 8 else (30, 40, 3))
    np.testing.assert_array_equal(read_upright(path, "a", EVERY_FORMAT), expected)
    np.testing.assert_array_equal(decode_image(path.read_bytes(), EVERY_FORMAT, upright=True), expected)


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_of_exif(cv2, order):
    entry = struct.pack(f"{order}HHIHH", 274, 3, 1, 6, 0)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, 1)
    content = photograph(1, exif=b"Exif\0\0" + head + entry + bytes(4))
    np.testing.assert_array_equal(decode_image(content, upright=True), read_as_mmcv(cv2, content))
    assert decode_image(content, upright=True).size == (30, 40)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"\0" * 30])
def test_damaged_exif_data_turn_nothing(cv2, exif):
    content = photograph(1, exif=exif)
    np.testing.assert_array_equal(decode_image(content, upright=True), read_as_mmcv(cv2, content))


@pytest.mark.parametrize(("kind", "count", "value"), [(7, 1, b"\xb7\x84QT"), (1, 1, bytes(4)), (2, 1, b"x\0\0\0")])
def test_a_resolution_of_another_type_is_no_obstacle(cv2, kind, count, value):
    """Pillow refuses to open such a picture; OpenCV and libjpeg do not look at its resolution."""
    turned, unit = (ORIENTATION, 3, 1, b"\6\0\0\0"), (296, 3, 1, b"\2\0\0\0")
    content = put_into_jpeg(make_exif("<", [turned, (282, kind, count, value), unit]))
    np.testing.assert_array_equal(decode_image(content, upright=True), read_as_mmcv(cv2, content))
    np.testing.assert_array_equal(decode_image(content), decode_pixels(content))


def test_xmp_turns_nothing(cv2):
    content = photograph(1, xmp=XMP)
    assert Image.open(io.BytesIO(content)).getexif()[274] == 6, "Pillow's ImageOps.exif_transpose would turn it"
    np.testing.assert_array_equal(decode_image(content, upright=True), read_as_mmcv(cv2, content))


def test_classifiers_images_are_not_turned():
    for orientation in range(1, 9):
        content = with_orientation(SCENE, "JPEG", orientation, quality=90)
        np.testing.assert_array_equal(
            decode_image(content), decode_image(with_orientation(SCENE, "JPEG", 1, quality=90))
        )
        np.testing.assert_array_equal(decode_pixels(content), decode_image(content))


def make_odd_pictures() -> dict[str, bytes]:
    palette = SCENE.convert("P", palette=Image.Palette.ADAPTIVE, colors=32)
    gray, binary = SCENE.convert("L"), SCENE.convert("1")
    alpha = NOISE[..., 3].astype(np.uint8)
    rgba = Image.merge("RGBA", (*SCENE.split(), Image.fromarray(alpha)))
    la = Image.merge("LA", (gray, Image.fromarray(alpha)))
    return {
        "gray JPEG": encoded(gray, "JPEG"),
        "JPEG with a second picture": encoded(SCENE, "MPO", save_all=True, append_images=[gray.convert("RGB")]),
        "animated PNG": encoded(SCENE, "PNG", save_all=True, append_images=[gray.convert("RGB")]),
        "palette": encoded(palette, "PNG"),
        "palette, a transparent colour": encoded(palette, "PNG", transparency=3),
        "palette, 2 bits": encoded(SCENE.convert("P", palette=Image.Palette.ADAPTIVE, colors=4), "PNG", bits=2),
        "palette with an alpha each": encoded(palette, "PNG", transparency=bytes(range(0, 256, 8))),
        "LA": encoded(la, "PNG"),
        "RGBA": encoded(rgba, "PNG"),
        "a transparent colour": encoded(SCENE, "PNG", transparency=SCENE.getpixel((0, 0))),
        "a transparent gray": encoded(gray, "PNG", transparency=100),
        "1 bit": encoded(binary, "PNG"),
        "1 bit, BMP": encoded(binary, "BMP"),
        "palette, BMP": encoded(palette, "BMP"),
        "alpha, BMP": encoded(rgba, "BMP"),
        "alpha, WebP": encoded(rgba, "WEBP", lossless=True),
        "lossy WebP": encoded(SCENE, "WEBP", quality=70),
    }  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", make_odd_pictures())
def test_odd_pictures_as_opencv_reads_them(cv2, kind):
    content = make_odd_pictures()[kind]
    np.testing.assert_array_equal(decode_image(content, EVERY_FORMAT), read_as_mmcv(cv2, content))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_upper_8_of_16_bits(cv2, channels):
    """They were white: Pillow clips gray ones at 255."""
    values = NOISE[..., :channels].squeeze()
    content = cv2.imencode(".png", values)[1].tobytes()
    expected = np.broadcast_to((values if channels > 1 else values[..., None])[..., 2::-1] >> 8, (30, 40, 3))
    np.testing.assert_array_equal(decode_image(content), expected)
    np.testing.assert_array_equal(decode_pixels(content), expected)
    np.testing.assert_array_equal(read_as_mmcv(cv2, content), expected)


@pytest.mark.parametrize("marked", [True, False])
def test_cmyk_as_opencv_reads_it_and_as_torchvision(cv2, marked):
    content = photograph(2, mode="CMYK")
    if not marked:
        at = content.index(b"Adobe") - 4
        content = content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]
    expected = read_as_mmcv(cv2, content)
    np.testing.assert_array_equal(decode_image(content, upright=True), expected)
    np.testing.assert_array_equal(decode_image(content), Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.abs(np.asarray(decode_image(content)).astype(int) - expected).max() == 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_more_bits_are_refused(monkeypatch, mode):
    """No format that is tried has them today; a later Pillow may read a PNG's so."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: None)
    with Image.open(io.BytesIO(encoded(SCENE.convert("L"), "PNG"))) as image:
        image._mode = mode
        with pytest.raises(UndecodablePicture, match=rf"of another kind \(Pillow's mode {mode}\)"):
            pictures._convert(image)


# -- what is damaged --------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def make_png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def make_jpeg_of(width: int, height: int) -> bytes:
    content = photograph(1)
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


@pytest.mark.parametrize("make", [make_png_of, make_jpeg_of])
def test_too_many_pixels(make):
    for decode in (decode_image, decode_pixels):
        with pytest.raises(UndecodablePicture, match="pixels"):
            decode(make(60000, 60000))


@pytest.mark.parametrize("make", [make_png_of, make_jpeg_of])
def test_the_bound_of_pixels_is_ours(make, recwarn, monkeypatch):
    """Pillow's own one warns of 89 million, and has other words for twice as many."""
    for name, bound in (("within", 9600 * 9400), ("beyond", 9600 * 9400 - 1)):
        monkeypatch.setattr(pictures, "MOST_PIXELS", bound)
        reason = ""
        try:
            decode_image(make(9600, 9400))
        except UndecodablePicture as error:  # of which one file has no pixels
            reason = str(error)
        assert ("pixels, more than" in reason) == (name == "beyond")
    monkeypatch.undo()
    with pytest.raises(UndecodablePicture, match=r"^it has 20000 x 20000 pixels, more than 178956970$"):
        decode_image(make(20000, 20000))
    assert not recwarn.list


@pytest.mark.parametrize(
    ("mode", "at", "value", "message"),
    [
        ("1", 46, b"\1", "a colour that its palette lacks"),
        ("L", 46, b"\x80\0", "a colour that its palette lacks"),
        ("RGB", 28, b"\x10", "16 bits"),
    ],
)
def test_bmp_files_that_decoders_read_differently(cv2, mode, at, value, message):
    """Found by the fuzz test: OpenCV takes a missing colour for black, and five bits for the upper ones of eight."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 40), np.uint8)).convert(mode)
    content = bytearray(encoded(image, "BMP"))
    assert np.array_equal(decode_image(bytes(content), EVERY_FORMAT), read_as_mmcv(cv2, bytes(content)))
    content[at : at + len(value)] = value
    assert read_as_mmcv(cv2, bytes(content)) is not None
    with pytest.raises(UndecodablePicture, match=message):
        decode_image(bytes(content), EVERY_FORMAT)


def test_pillow_says_nothing_beside_our_messages(tmp_path):
    """In a process of its own: pytest has filters of its own."""
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    (tmp_path / "a.jpg").write_bytes(encoded(SCENE, "JPEG", exif=exif))
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        Image.open(tmp_path / "a.jpg")
    program = (
        "import pathlib, sys; from repro.data.pictures import read_upright as r; r(pathlib.Path(sys.argv[1]), 'a')"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("AVIF"), struct.error("short"), SyntaxError("PNG"),
                                   IndexError(), KeyError(7), zlib.error("-3"), ZeroDivisionError(), OverflowError(),
                                   EOFError(), NotImplementedError("DDS"), RecursionError(), AttributeError("x")],
                         ids=repr)  # fmt: skip
@pytest.mark.parametrize("place", ["open", "load"])
def test_whatever_a_decoder_raises(monkeypatch, tmp_path, error, place):
    def fail(*_, **__):
        raise error

    path = tmp_path / "a.png"
    path.write_bytes(encoded(SCENE, "PNG"))
    monkeypatch.setattr(*((Image, "open") if place == "open" else (ImageFile.ImageFile, "load")), fail)
    for decode in (decode_image, decode_pixels):
        with pytest.raises(UndecodablePicture, match=r"."):
            decode(path.read_bytes())
    with pytest.raises(UnreadableImage, match=rf"{path} is corrupt: ."):
        read_upright(path, "a")


def test_every_changed_byte_of_a_png_is_noticed():
    """Pillow alone takes changed pixels for whole ones where they are still some."""
    content = encoded(SCENE.convert("L"), "PNG")
    for at in range(8, len(content)):
        damaged = content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]
        with pytest.raises(UndecodablePicture):
            decode_image(damaged)


@pytest.mark.parametrize("kind", EVERY_FORMAT)
def test_files_cut_short(kind):
    content = encoded(SCENE, kind)
    for length in [*range(0, len(content) - 2, 37), len(content) - 2]:
        with pytest.raises(UndecodablePicture):
            decode_image(content[:length], EVERY_FORMAT)


@pytest.mark.parametrize("what", ["directory", "pipe", "device", "link to nothing", "link to itself", "large"])
def test_what_is_no_regular_file(tmp_path, monkeypatch, what):
    path = tmp_path / "a.jpg"
    {
        "directory": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "link to nothing": lambda: path.symlink_to(tmp_path / "nowhere"),
        "link to itself": lambda: path.symlink_to(path),
        "large": lambda: path.write_bytes(b"more"),
    }[what]()
    monkeypatch.setattr(pictures, "MOST_BYTES", 3)
    with pytest.raises(UnreadableImage, match=rf"image 7: {path} cannot be read: it (is|has)") as caught:
        read_upright(path, "7", what="image 7:")
    assert caught.value.image_id == "7"
