"""Picture files, decoded to RGB: all of them are opened here.

Two kinds of readers have to be followed:

- `decode_image`, as torchvision's ImageFolder reads ImageNet, with grayscale and CMYK photographs and a PNG file with
  the name of a JPEG. A rotation that EXIF data ask for is not applied, as in all evaluations through torchvision.
- `read_upright`, as detectors read COCO. Both the authors' framework, with OpenCV's `imread`, and Detectron2 turn a
  picture as its EXIF data say. CMYK is converted as OpenCV does, up to 2 of 255 away from Pillow.

Where one reader clips pixels of 16 bits to white, both do here what OpenCV does: the upper 8 bits remain. Transparency
is dropped, the colours below it stay.

Only the formats that a data set has are tried: Pillow would open many others, and start Ghostscript for PostScript.
Whatever a decoder raises becomes an `UndecodablePicture`. A file that ends too early is an error.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from repro.data.exif import hide_jpeg_parts, list_jpeg_parts, read_orientation
from repro.data.picture_containers import (
    BMP_SIGNATURE,
    JPEG_SIGNATURE,
    PNG_SIGNATURE,
    check_bmp,
    check_jpeg_parts,
    check_png,
    check_scans,
    find_exif,
)
from repro.errors import ReproError
from repro.files.regular_files import read_regular

#: Formats of the files of COCO, of ImageNet and of the mini profile's data, whatever their names say.
DATA_SET_FORMATS = ("JPEG", "PNG")
#: A picture has at most so many pixels: the one bound.
MOST_PIXELS = 178_956_970
#: Pillow has a bound of its own; it would warn of half as many, and refuse more before this module can say why.
Image.MAX_IMAGE_PIXELS = None
# Nor is anybody helped by what it says of damaged EXIF data, which are read by `exif`.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
#: A side has at most so many: OpenCV's bound. Rows of a pixel each take decoders a hundred times as long.
_MOST_SIDE = 2**20
#: A file has at most so many bytes.
MOST_BYTES = 2**28

_END_OF_JPEG = b"\xff\xd9"
#: What Pillow converts to RGB without a loss: 8 bits or fewer a channel.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
#: What EXIF's orientations ask for. 1 is upright; other values mean nothing.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UndecodablePicture(Exception):
    """Why the bytes of a file are no picture that is read here, in words."""


class UnreadableImage(ReproError):
    """An image that cannot be read, and why. Training stops; `analyze`, `data verify` and accuracies count and name it.

    Args:
        image_id: its name where failed items are listed.
    """

    def __init__(self, image_id: str, message: str) -> None:
        super().__init__(message)
        self.image_id = image_id

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """What pickling needs: processes that read ahead hand it over."""
        return type(self), (self.image_id, str(self))


def decode_image(content: bytes, formats: tuple[str, ...] = DATA_SET_FORMATS, *, upright: bool = False) -> Image.Image:
    """Decode a picture to RGB.

    Args:
        formats: Pillow's names of those that are tried; no other one is opened.
        upright: as detectors read it: turned and mirrored as its EXIF data say, CMYK converted as OpenCV does.

    Raises:
        UndecodablePicture: it is of another format, damaged, or has too many pixels, or too many bits for them.
    """
    opened = content
    try:
        if content.startswith(JPEG_SIGNATURE):
            check_jpeg_parts(content)  # Pillow looks at all of them when it opens a file
            opened = hide_jpeg_parts(content)
        elif content.startswith(PNG_SIGNATURE):
            check_png(content, MOST_PIXELS)
        with Image.open(io.BytesIO(opened), formats=formats) as image:
            _check_size(*image.size)
            if content.startswith(JPEG_SIGNATURE):
                check_scans(content, *image.size)
            colors = check_bmp(content) if content.startswith(BMP_SIGNATURE) else 0
            image.load()
            if colors and image.mode in ("1", "L", "P"):
                highest = image.getextrema()[1]
                if (min(highest, 1) if image.mode == "1" else highest) >= colors:
                    raise UndecodablePicture("a pixel has a colour that its palette lacks")
            picture = _convert_cmyk(image) if upright and image.mode == "CMYK" else _convert(image)
            turn = _TURNS.get(_find_orientation(image, content)) if upright else None
            return picture if turn is None else picture.transpose(turn)
    except UndecodablePicture:
        raise
    except UnidentifiedImageError:
        raise UndecodablePicture(f"it is no {' or '.join(formats)} file, or its header is damaged") from None
    except MemoryError:
        raise UndecodablePicture("there is not enough memory for it") from None
    except Exception as error:  # what it is depends on the decoder and on where the damage is
        raise UndecodablePicture(str(error) or type(error).__name__) from None


def decode_pixels(content: bytes) -> np.ndarray:
    """Decode a picture to uint8 (H, W, 3), RGB: equal to `decode_image`, in two thirds of the time for most JPEGs.

    Both decode with libjpeg-turbo and its defaults, so that their pixels are equal; Pillow makes two more copies.

    Raises:
        UndecodablePicture: as `decode_image`.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(width, height)
        check_scans(content, width, height)
        if space in ("YCbCr", "Gray"):
            return simplejpeg.decode_jpeg(content, "RGB")
    except UndecodablePicture:
        raise
    except Exception:  # no JPEG, or a damaged one, is left to Pillow
        pass
    return np.array(decode_image(content))  # also CMYK, which the two libraries convert differently


def measure_plain_jpeg(content: bytes) -> tuple[int, int] | None:
    """(height, width) of a JPEG file that any decoder reads as `decode_pixels` does, but for rounding; of others None.

    Others are such as have another format or kind of colours, do not end as they should, or are too large.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        _check_size(width, height)
        check_scans(content, width, height)
    except Exception:  # whatever is wrong, `decode_pixels` says it
        return None
    plain = space in ("YCbCr", "Gray") and content.rstrip(b"\0").endswith(_END_OF_JPEG)
    return (height, width) if plain else None


def read_upright(
    path: Path, image_id: str, formats: tuple[str, ...] = DATA_SET_FORMATS, *, what: str = "image"
) -> Image.Image:
    """Read a picture file as detectors do: RGB, turned and mirrored as its EXIF data say.

    Args:
        image_id: see `UnreadableImage`.
        what: what it is, for messages, before the path: "image 139:".

    Raises:
        UnreadableImage: it is no regular file, or cannot be decoded.
    """
    try:
        content = read_regular(path, MOST_BYTES, what)
    except ReproError as error:
        raise UnreadableImage(image_id, str(error)) from None
    return decode_upright(content, image_id, str(path), formats, what=what)


def decode_upright(
    content: bytes, image_id: str, place: str, formats: tuple[str, ...] = DATA_SET_FORMATS, *, what: str = "image"
) -> Image.Image:
    """Decode a picture as `read_upright` does.

    Args:
        place: where it was read from, for messages.

    Raises:
        UnreadableImage: it cannot be decoded.
    """
    try:
        return decode_image(content, formats, upright=True)
    except UndecodablePicture as error:
        message = f"{what} {place} is corrupt: {error}. Unpack or download it again."
        raise UnreadableImage(image_id, message) from None


def _check_size(width: int, height: int) -> None:
    if max(width, height) > _MOST_SIDE:
        raise UndecodablePicture(f"it has {width} x {height} pixels; a side has at most {_MOST_SIDE}")
    if width * height > MOST_PIXELS:
        raise UndecodablePicture(f"it has {width} x {height} pixels, more than {MOST_PIXELS}")


def _convert(image: Image.Image) -> Image.Image:
    """The picture in RGB, with what OpenCV's IMREAD_COLOR keeps of it."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode not in _MODES:
        raise UndecodablePicture(f"its pixels are of another kind (Pillow's mode {image.mode}) than 8 or 16 bits")
    image.info.pop("transparency", None)  # Pillow warns that it cannot be kept
    return image.convert("RGB")


def _convert_cmyk(image: Image.Image) -> Image.Image:
    """The picture in RGB by OpenCV's arithmetic, in which a file's values are those of the light that is left."""
    light = 255 - np.asarray(image).astype(np.int32)
    black = light[..., 3:]
    return Image.fromarray((black - ((255 - light[..., :3]) * black >> 8)).astype(np.uint8))


def _find_orientation(image: Image.Image, content: bytes) -> int:
    """EXIF's orientation of a loaded image, as OpenCV reads it."""
    if image.format in ("JPEG", "MPO"):
        return read_orientation(list_jpeg_parts(content))
    if content.startswith(PNG_SIGNATURE):
        return read_orientation([find_exif(content)])
    return read_orientation([image.info.get("exif", b"").removeprefix(b"Exif\0\0")])
