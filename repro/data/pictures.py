"""Image files decoded as torchvision's ImageFolder does: whatever Pillow can open, converted to RGB.

ImageNet has grayscale and CMYK photographs, a PNG file with the name of a JPEG and photographs whose EXIF data ask for
a rotation. Pillow converts the first three; the rotation is not applied, as in all evaluations through torchvision.
A file that ends too early is an error.
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

#: The errors that Pillow raises for damaged files, depending on where the damage is.
DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def decode_image(content: bytes) -> Image.Image:
    """Decode an image to RGB. Raises one of `DAMAGED`."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("it is no image of a known kind") from None


def decode_pixels(content: bytes) -> np.ndarray:
    """Decode an image to uint8 (H, W, 3), RGB: equal to `decode_image`, in two thirds of the time for an ordinary JPEG.

    Both decode with libjpeg-turbo and its defaults, so that their pixels are equal; Pillow makes two more copies.

    Raises one of `DAMAGED`.
    """
    with suppress(ValueError):  # no JPEG, or a damaged one, is left to Pillow
        if simplejpeg.decode_jpeg_header(content)[2] in ("YCbCr", "Gray"):
            return simplejpeg.decode_jpeg(content, "RGB")
    return np.array(decode_image(content))  # also CMYK, which the two libraries convert differently
