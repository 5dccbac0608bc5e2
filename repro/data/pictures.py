"""Image files to pixels, as torchvision's ImageFolder decodes them: whatever Pillow can open, converted to RGB.

ImageNet has grayscale and CMYK photographs, a PNG file with the name of a JPEG and photographs whose EXIF data ask for
a rotation. Pillow converts the first three; the rotation is not carried out, as in all evaluations through torchvision.
A file that ends too early is an error.
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

#: What Pillow raises for a damaged file depends on where the damage is.
DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def decode_image(content: bytes) -> Image.Image:
    """The image in RGB. Raises one of `DAMAGED`."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise ValueError("it is no image of a known kind") from None


def decode_pixels(content: bytes) -> np.ndarray:
    """uint8 (H, W, 3), RGB: the same as `decode_image`, in two thirds of the time for an ordinary JPEG.

    Both decode with libjpeg-turbo and its defaults, so that their pixels are equal; Pillow's way takes two copies more.
    """
    with suppress(ValueError):  # no JPEG, or a damaged one: Pillow knows what to make of it
        if simplejpeg.decode_jpeg_header(content)[2] in ("YCbCr", "Gray"):
            return simplejpeg.decode_jpeg(content, "RGB")
    return np.array(decode_image(content))  # CMYK comes here, too, which the two libraries convert differently
