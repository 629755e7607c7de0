"""Pictures of 16 bits and of floats, which Pillow would make 8 bits of: decoded and encoded by OpenCV."""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

from addsr_jax.data import tiff
from addsr_jax.data.quiet import QUIET
from addsr_jax.data.tiff import FLOATS

TAGS = ExifTags.Base
SIZ = b'\xff\x4f\xff\x51'  # begins the codestream of a JPEG 2000 (ISO 15444-1, A.5.1)
PNG = b'\x89PNG\r\n\x1a\n'
LARGEST_TIFF = 2**32 - 2**24  # bytes of its pixels


def white(image: Image.Image, data: bytes) -> int:
    """What stands for white in colours that Pillow, which has opened and not yet decoded them, makes 8 bits of.

    255 where it does not. Grey of more bits Pillow reads itself.
    """
    if image.mode not in ('RGB', 'RGBA', 'RGBX', 'LA', 'CMYK') or not getattr(image, 'tile', None):
        return 255
    arguments = image.tile[0].args  # pyright: ignore[reportAttributeAccessIssue]
    if image.format == 'TIFF':
        return 2 ** max((8, *getattr(image, 'tag_v2', {}).get(TAGS.BitsPerSample, ()))) - 1
    if image.format == 'PNG':
        return 65535 if str(arguments).endswith(';16B') else 255
    if image.format == 'PPM':
        return max((255, *arguments[1:2])) if isinstance(arguments, tuple) else 255
    at = data.find(SIZ) if image.format == 'JPEG2000' else -1
    if at < 0:
        return 255
    channels = struct.unpack_from('>H', data, at + 40)[0]
    return 2 ** max((8, *(1 + (bits & 0x7F) for bits in data[at + 42 : at + 42 + 3 * channels : 3]))) - 1


def colours(image: Image.Image, data: bytes) -> np.ndarray | None:
    """uint16 [H, W, 3 or 4] of those; None where nothing here reads more than 8 bits of them."""
    if image.mode in ('CMYK', 'LA') or data[:2] == b'P3':
        return None
    whole = white(image, data)
    try:
        values = decoded(data)
    except ValueError:
        if image.format == 'JPEG2000':  # of a kind that Pillow may read all the same
            return None
        raise
    if image.format == 'JPEG2000' and (values.dtype != np.uint16 or values.shape[:2] != image.size[::-1]):
        return None
    if whole == 65535 or values.dtype != np.uint16:
        return values
    return np.rint(np.minimum(values, whole) * np.float32(65535 / whole)).astype(np.uint16)


def decoded(data: bytes) -> np.ndarray:
    """[H, W] or [H, W, 3 or 4], RGB(A), of the file's own type: uint16, float32 or float64, not turned.

    ValueError for damage.
    """
    return opencv(_bare(data) if data[:8] == PNG else _unturned(data))


def opencv(data: bytes) -> np.ndarray:
    """What OpenCV decodes, RGB(A) or grey, as it is stored; ValueError for damage."""
    try:
        with QUIET:
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError('OpenCV cannot decode it') from error
    if found is None:
        raise ValueError('OpenCV cannot decode it, so it is damaged')
    return found if found.ndim == 2 else found[..., [2, 1, 0, 3][: found.shape[2]]]


def _bare(png: bytes) -> bytes:
    """A PNG with nothing beside its pixels, of which libpng might warn on stderr."""
    return PNG + b''.join(chunk for kind, chunk in chunks(png) if kind in (b'IHDR', b'IDAT', b'IEND'))


def _unturned(data: bytes) -> bytes:
    """A TIFF whose orientation says 1: OpenCV turns TIFFs, other files not."""
    return tiff.with_tag(data, TAGS.Orientation, 1)


def encoded_png(values: np.ndarray, said: PngImagePlugin.PngInfo, compression: int, **options: Any) -> bytes:
    """uint16 [H, W, 1, 3 or 4] as PNG: L, RGB or RGBA, with Pillow's options of what stands beside the pixels.

    Pillow writes no such colours, and OpenCV nothing beside them: the chunks of a small file of Pillow's go into
    OpenCV's.
    """
    small = io.BytesIO()
    Image.new('L', (1, 1)).save(small, 'PNG', pnginfo=said, **options)
    beside = b''.join(chunk for kind, chunk in chunks(small.getvalue()) if kind not in (b'IHDR', b'IDAT', b'IEND'))
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]
    done, whole = cv2.imencode('.png', values[..., order], (cv2.IMWRITE_PNG_COMPRESSION, compression))
    if not done:
        raise OSError('OpenCV cannot encode it')
    whole = whole.data
    after = 8 + 25  # the signature and IHDR
    return b''.join((whole[:after], beside, whole[after:]))


def chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole chunk) of a PNG."""
    at = 8
    while at < len(png):
        size = 12 + int.from_bytes(png[at : at + 4], 'big')
        yield png[at + 4 : at + 8], png[at : at + size]
        at += size


def encoded_tiff(
    values: np.ndarray, tags: TiffImagePlugin.ImageFileDirectory_v2, compression: int = 6, *, inks: bool = False
) -> bytes:
    """uint8, uint16 or float32 [H, W, 1 to 4] as TIFF, deflated, with `tags` beside what says how the pixels lie.

    The last of 2 or 4 channels is alpha, unless four are `inks`, CMYK. Pillow writes 8 bits alone, and OpenCV no tags.
    """
    height, width, channels = values.shape
    rows = max(1, (1 << 20) // (width * channels * values.itemsize))
    little = values.astype(values.dtype.newbyteorder('<'), copy=False)
    strips = [zlib.compress(little[top : top + rows].tobytes(), compression) for top in range(0, height, rows)]
    tags[TAGS.ImageWidth], tags[TAGS.ImageLength] = width, height
    tags[TAGS.BitsPerSample] = (8 * values.itemsize,) * channels
    tags[TAGS.SampleFormat] = (FLOATS if values.dtype.kind == 'f' else 1,) * channels
    tags[TAGS.Compression] = 8
    tags[TAGS.PhotometricInterpretation] = 5 if inks else 2 if channels > 2 else 1
    tags[TAGS.SamplesPerPixel], tags[TAGS.RowsPerStrip] = channels, rows
    tags[TAGS.StripByteCounts] = tuple(map(len, strips))
    starts = np.cumsum([0, *map(len, strips[:-1])])
    tags[TAGS.StripOffsets] = tuple(int(start) for start in starts)  # written from the end of the tags on
    if channels in (2, 4) and not inks:
        tags[TAGS.ExtraSamples] = 2  # alpha, not premultiplied
    if sum(map(len, strips)) > LARGEST_TIFF:
        raise ValueError('a TIFF holds 4 GB')
    file = io.BytesIO()
    file.write(b'II*\0\x08\0\0\0')
    tags.save(file)
    return file.getvalue() + b''.join(strips)
