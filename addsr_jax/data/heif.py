"""AVIF and HEIC of more than 8 bits a channel, of which Pillow's decoders give 8.

OpenCV decodes such AVIF where it was built with libavif, and pillow-heif HEIC, which it writes with 10 bits as well.
"""

import io
import re
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image

from addsr_jax.data import deep
from addsr_jax.data.formats import HEIF

WRITTEN_BITS = 10


def is_one(image: Image.Image) -> bool:
    """Whether Pillow has opened an AVIF or a HEIC."""
    return image.format in ('AVIF', HEIF)


def bits(image: Image.Image, data: bytes) -> int:
    """Bits of a channel, as the file of an opened AVIF or HEIC says."""
    if image.format == HEIF:
        return int(image.info.get('bit_depth') or 8)
    flags = [found[0] for found in re.findall(rb'av1C..(.)', data, re.DOTALL)]  # av1-isobmff, 2.3.3
    return 12 if any(flag & 0x20 for flag in flags) else 10 if any(flag & 0x40 for flag in flags) else 8


def is_decoded(image: Image.Image) -> bool:
    """Whether `decoded` takes more than 8 bits of it."""
    return image.format == HEIF or reads_avif()


@cache
def reads_avif() -> bool:
    """Whether this OpenCV was built with libavif."""
    return re.search(r'AVIF:\s+(?!NO)\S', cv2.getBuildInformation()) is not None


def decoded(image: Image.Image, data: bytes) -> np.ndarray:
    """uint16 [H, W] or [H, W, 3 or 4], RGB(A): HEIC upright, AVIF as it is stored. ValueError for damage."""
    depth = bits(image, data)
    if image.format == HEIF:
        import pillow_heif  # an extra

        file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
        found = file[file.primary_index]
        values, times_alpha = np.asarray(found) >> (16 - depth), found.mode.startswith('RGBa')
    else:
        values, times_alpha = deep.opencv(data), False
    values = np.rint(values * np.float32(65535 / (2**depth - 1)))
    if times_alpha:
        values[..., :3] = np.minimum(values[..., :3] / np.maximum(values[..., 3:] / 65535, 1e-6), 65535)
    return values.astype(np.uint16)


def encoded(values: np.ndarray, **options: Any) -> bytes:
    """uint16 [H, W, 1, 3 or 4] as HEIC of `WRITTEN_BITS`, with pillow-heif's options."""
    import pillow_heif

    height, width, channels = values.shape
    mode = {1: 'L;16', 3: 'RGB;16', 4: 'RGBA;16'}[channels]
    shift = 16 - WRITTEN_BITS  # which pillow-heif cuts off
    rounded = np.rint(values * np.float32((2**WRITTEN_BITS - 1) / 65535)).astype(np.uint16) << shift
    file = io.BytesIO()
    pillow_heif.encode(mode, (width, height), rounded.tobytes(), file, **options)
    return file.getvalue()
