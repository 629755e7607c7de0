"""TIFFs whose channels lie as neither Pillow nor OpenCV reads them, decoded by tifffile."""

import io
import logging
from typing import Any

import numpy as np

from addsr_jax.data import tiff
from addsr_jax.data.tiff import TAGS, Tags

DEEP = (16, 32, 64)  # bits of a number that Pillow would make fewer of


def are_unusual(tags: Tags) -> bool:
    """Whether colours of more than 8 bits lie apart, or in halves, or are more or fewer than the others read."""
    bits, count = set(tags.get(TAGS.BitsPerSample, (1,))), tags.get(TAGS.SamplesPerPixel, 1)
    numbers = set(tags.get(TAGS.SampleFormat, (1,)))
    if tags.get(TAGS.PhotometricInterpretation, 1) not in tiff.CHANNELS or len(bits) > 1 or len(numbers) > 1:
        return False
    if numbers == {tiff.FLOATS}:
        return bits <= set(DEEP) and (tiff.is_apart(tags) or not tiff.reads_floats(tags))
    return numbers == {1} and bits == {16} and (tiff.is_apart(tags) or count == 2 or count > 4)


def decoded(data: bytes, size: tuple[int, int], tags: Tags) -> np.ndarray:
    """[H, W, channels] of the first picture as it is stored, not turned; ValueError where that is impossible.

    size: width and height, which were found to be of a size that is read.
    """
    import tifffile

    channels = tags.get(TAGS.SamplesPerPixel, 1)
    log = logging.getLogger('tifffile')
    log.addFilter(_nothing)  # what is wrong is said by an exception of ours
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page: Any = file.pages.first
            shape = (page.imagelength, page.imagewidth, page.samplesperpixel, page.imagedepth)
            if shape != (size[1], size[0], channels, 1):
                raise ValueError('its tags contradict one another')
            values = page.asarray(maxworkers=1)
    except Exception as error:  # decoders raise nearly everything
        if 'imagecodecs' in str(error):
            raise ValueError(f'{tiff.not_read(tags)}, not compressed') from error
        raise ValueError('it is no picture that can be read, or damaged') from error
    finally:
        log.removeFilter(_nothing)
    if values.size != size[0] * size[1] * channels:
        raise ValueError('it is no picture that can be read, or damaged')
    values = values.astype(np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder('='), copy=False)
    if tiff.is_apart(tags):
        return np.moveaxis(values.reshape(channels, size[1], size[0]), 0, -1)
    return values.reshape(size[1], size[0], channels)


def _nothing(record: logging.LogRecord) -> bool:
    return False
