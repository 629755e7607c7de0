"""TIFFs whose channels lie as neither Pillow nor OpenCV reads them, decoded by tifffile."""

import io
import math
import zlib
from typing import Any

import numpy as np

from addsr_jax.data import tiff
from addsr_jax.data.tiff import TAGS, Tags

DEEP = (16, 32, 64)  # bits of a number that Pillow would make fewer of
DEFLATED = (8, 32946)  # of Compression
DAMAGED = 'it is no picture that can be read, or damaged'


def are_unusual(tags: Tags) -> bool:
    """Whether colours of more than 8 bits lie apart, or in halves, or are more or fewer than the others read."""
    bits, count = set(tags.get(TAGS.BitsPerSample, (1,))), tags.get(TAGS.SamplesPerPixel, 1)
    numbers = set(tags.get(TAGS.SampleFormat, (1,)))
    if tags.get(TAGS.PhotometricInterpretation) not in tiff.CHANNELS or len(bits) > 1 or len(numbers) > 1:
        return False
    if numbers == {tiff.FLOATS}:
        return bits <= set(DEEP) and (tiff.is_apart(tags) or not tiff.reads_floats(tags))
    return numbers == {1} and bits == {16} and (tiff.is_apart(tags) or count == 2 or count > 4)


def decoded(data: bytes, size: tuple[int, int], tags: Tags) -> np.ndarray:
    """[H, W, channels] of the first picture as it is stored, not turned; ValueError where that is impossible.

    size: width and height, which were found to be of a size that is read.
    """
    import tifffile

    if tags.get(TAGS.Compression, 1) not in (1, *DEFLATED):
        raise ValueError(tiff.not_read(tags, packed=True))
    channels = tags.get(TAGS.SamplesPerPixel, 1)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages.first
            if page.compression == 1:
                page.predictor = 1  # as libtiff takes it
            shape = (page.imagelength, page.imagewidth, page.samplesperpixel, page.imagedepth)
            if shape != (size[1], size[0], channels, 1) or not _is_whole(data, page):
                raise ValueError(DAMAGED)
            values = page.asarray(maxworkers=1)
    except Exception as error:  # decoders raise nearly everything
        if 'imagecodecs' in str(error):
            raise ValueError(tiff.not_read(tags, packed=True)) from error
        raise ValueError(DAMAGED) from error
    if values.size != size[0] * size[1] * channels:
        raise ValueError(DAMAGED)
    values = values.astype(np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder('='), copy=False)
    if tiff.is_apart(tags):
        return np.moveaxis(values.reshape(channels, size[1], size[0]), 0, -1)
    return values.reshape(size[1], size[0], channels)


def _is_whole(data: bytes, page: Any) -> bool:
    """Whether every strip or tile is there, and none inflates to much more than it should hold."""
    starts, sizes = page.dataoffsets, page.databytecounts
    if not len(starts) == len(sizes) == math.prod(page.chunked) or min(*starts, *sizes) < 1:
        return False
    most = 2 * math.prod(page.chunks) * page.dtype.itemsize
    packed = page.compression in DEFLATED
    return all(
        start + size <= len(data) and not (packed and _inflates(data[start : start + size], most))
        for start, size in zip(starts, sizes, strict=True)
    )


def _inflates(packed: bytes, most: int) -> bool:
    """Whether to so many bytes or more."""
    return len(zlib.decompressobj().decompress(packed, most)) >= most
