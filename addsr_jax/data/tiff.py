"""How the pixels of a TIFF lie, by the tags of its first picture, and words for those that nobody here reads."""

import io
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import ExifTags, Image, TiffImagePlugin

TAGS = ExifTags.Base
CLASSIC, BIG = (b'II*\0', b'MM\0*'), (b'II+\0', b'MM\0+')  # BigTIFF counts in 8 bytes
FLOATS = 3  # of SampleFormat
APART = 2  # of PlanarConfiguration: one channel after the other
TIMES_ALPHA, ALPHA = 1, 2  # of ExtraSamples; 0 is a mask, a selection or infrared
CHANNELS = {0: 1, 1: 1, 2: 3}  # of colours: grey, whose 0 may be white, and RGB
COLOURS = {5: 'CMYK', 6: 'YCbCr', 8: 'Lab', 9: 'Lab', 10: 'Lab'}  # of PhotometricInterpretation
Tags = Mapping[int, Any]
Directory = TiffImagePlugin.ImageFileDirectory_v2


def directory(data: bytes) -> Tags | None:
    """Of the first picture; None for other files. Whatever Pillow raises for damage."""
    return next(_directories(data)) if data[:4] in (*CLASSIC, *BIG) else None


def pages(data: bytes) -> int:
    """How many pictures a file holds, as far as it is whole."""
    count = 0
    try:
        for _ in _directories(data):
            count += 1
    except Exception:  # whatever Pillow raises for damage; the first one may be whole all the same
        return max(count, 1)
    return count


def _directories(data: bytes) -> Iterator[Directory]:
    """The same one, filled with the tags of one picture after the other."""
    tags, file, seen = Directory(data[:16] if data[:4] in BIG else data[:8]), io.BytesIO(data), set()
    while not seen or (tags.next and tags.next not in seen):
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        yield tags


def exif(data: bytes) -> Image.Exif:
    """All tags of the first picture."""
    found = Image.Exif()
    found.endian, found.bigtiff = '<' if data[:2] == b'II' else '>', data[:4] in BIG
    found.load_from_fp(io.BytesIO(data), Directory(data[:16] if found.bigtiff else data[:8]).next)
    return found


def is_apart(tags: Tags) -> bool:
    """Whether each channel lies by itself."""
    return tags.get(TAGS.PlanarConfiguration) == APART and tags.get(TAGS.SamplesPerPixel, 1) > 1


def is_floats(tags: Tags) -> bool:
    return set(tags.get(TAGS.SampleFormat, (1,))) == {FLOATS}


def reads_floats(tags: Tags) -> bool:
    """Whether OpenCV decodes such floats: grey, and RGB with one more channel or none."""
    colours = {(0, 1), (1, 1), (2, 3), (2, 4)}
    of_kind = (tags.get(TAGS.PhotometricInterpretation, 1), tags.get(TAGS.SamplesPerPixel, 1)) in colours
    return of_kind and set(tags.get(TAGS.BitsPerSample, (1,))) in ({32}, {64})


def alpha(tags: Tags) -> int:
    """ALPHA, TIMES_ALPHA where colours are stored times alpha, or 0 where the first channel beyond colours is none.

    Where no tag says what a fourth channel is, it is alpha, as Pillow takes it.
    """
    first = (tags.get(TAGS.ExtraSamples) or (ALPHA,))[0]
    return first if first in (ALPHA, TIMES_ALPHA) else 0


def left_out(tags: Tags) -> tuple[str, ...]:
    """The remark that channels are neither colours nor transparency."""
    extra = tags.get(TAGS.ExtraSamples, ())
    count = len(extra) - (1 if extra and alpha(tags) else 0)
    if not count:
        return ()
    if count == 1:
        return ('its extra channel is no transparency and plays no part',)
    return (f'its {count} extra channels are no transparency and play no part',)


def is_whole(tags: Tags, data: bytes) -> bool:
    """Whether tags and pixels are all there, so that a file that nobody reads is of a kind that is not read."""
    starts, sizes = (
        tags.get(TAGS.StripOffsets) or tags.get(TAGS.TileOffsets),
        tags.get(TAGS.StripByteCounts) or tags.get(TAGS.TileByteCounts),
    )
    if not (starts and sizes and tags.get(TAGS.ImageWidth) and tags.get(TAGS.ImageLength)):
        return False
    bits = tags.get(TAGS.BitsPerSample, (1,))
    fits = all(start + size <= len(data) for start, size in zip(starts, sizes, strict=False))
    return fits and len(bits) in (1, tags.get(TAGS.SamplesPerPixel, 1))


def not_read(tags: Tags) -> str:
    """'it is a TIFF of 2 channels of 16-bit numbers, which is not read ...'."""
    count, bits = tags.get(TAGS.SamplesPerPixel, 1), max(tags.get(TAGS.BitsPerSample, (1,)))
    kind = {2: 'numbers with signs', FLOATS: 'floats'}.get(max(tags.get(TAGS.SampleFormat, (1,))), 'numbers')
    colours = COLOURS.get(tags.get(TAGS.PhotometricInterpretation, 1), '')
    channels = f'{colours} in ' * bool(colours) + ('one channel' if count == 1 else f'{count} channels')
    return f'it is a TIFF of {channels} of {bits}-bit {kind}, which is not read: save it as RGB or grey of 8 or 16 bits'
