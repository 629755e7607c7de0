"""What the head of a picture's file says, before its pixels are decoded: how large it is, and how deep."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image

from addsr_jax.data import containers, formats, heif, metadata, pictures, tiff
from addsr_jax.data.quiet import QUIET

TAGS = ExifTags.Base


@dataclass(frozen=True)
class Head:
    """What the head of a file says."""

    size: tuple[int, int]  # width and height, upright
    bits: int  # of a channel, 8 where there are fewer


def head_of(path: Path) -> Head | None:
    """None where a file has no head that is understood: it is named when it is read."""
    try:
        data = path.read_bytes() if path.is_file() else b''
        containers.check(data)
        with QUIET:
            tags = tiff.directory(data)
            if tags is not None and pictures.is_of_numbers(tags):
                return _head_of_numbers(data, tags)
            with Image.open(io.BytesIO(data), formats=formats.readable()) as image:
                return _head(image, data)
    except Exception:  # decoders raise nearly everything
        return None


def _head(image: Image.Image, data: bytes) -> Head:
    of_mode = 16 if image.mode[0] in 'IF' and not heif.is_one(image) else 8
    # Pillow says a TIFF's size upright, and decodes a PNG to look for EXIF behind its pixels
    knows = image.format != 'TIFF' and (image.format != 'PNG' or 'exif' in image.info)
    turn = metadata.orientation(image) if knows else 1
    return Head(_upright(image.size, turn), max(of_mode, pictures.bits_of(image, data)))


def _head_of_numbers(data: bytes, tags: tiff.Tags) -> Head:
    tiff.check(data, tags)
    stored = int(tags[TAGS.ImageWidth]), int(tags[TAGS.ImageLength])
    return Head(_upright(stored, tags.get(TAGS.Orientation, 1)), 16)


def _upright(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if orientation in pictures.LYING else size


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height that the head of a file says, upright; None where it says none."""
    head = head_of(path)
    return None if head is None else head.size
