"""How the pixels of a TIFF lie, by the tags of its first picture, and words for those that nobody here reads."""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from PIL import ExifTags, Image, TiffImagePlugin

TAGS = ExifTags.Base
CLASSIC, BIG = (b'II*\0', b'MM\0*'), (b'II+\0', b'MM\0+')  # BigTIFF counts in 8 bytes
SIGNED, FLOATS = 2, 3  # of SampleFormat
TOGETHER, APART = 1, 2  # of PlanarConfiguration: one channel after the other
PACKED = (1, 5, 7, 8, 32773, 32946)  # of Compression, that OpenCV's decoder knows: none, LZW, JPEG, deflate, PackBits
GREY, RGB, INKS = (0, 1), 2, 5  # of PhotometricInterpretation
TIMES_ALPHA, ALPHA = 1, 2  # of ExtraSamples; 0 is a mask, a selection or infrared
CHANNELS = {0: 1, 1: 1, 2: 3}  # of colours: grey, whose 0 may be white, and RGB
COLOURS = {5: 'CMYK', 6: 'YCbCr', 8: 'Lab', 9: 'Lab', 10: 'Lab'}  # of PhotometricInterpretation
Tags = Mapping[int, Any]
Directory = TiffImagePlugin.ImageFileDirectory_v2


def directory(data: bytes) -> Tags | None:
    """Of the first picture; None for other files. Whatever Pillow raises for damage."""
    if data[:4] == BIG[1]:  # which Pillow takes for another kind
        raise ValueError('it is a BigTIFF with the high byte first, which is not read: save it as TIFF')
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


def check(data: bytes, tags: Tags) -> None:
    """ValueError for kinds of which decoders make other pictures than they are."""
    if not (tags.get(TAGS.ImageWidth) and tags.get(TAGS.ImageLength)):
        raise ValueError('it is a TIFF that does not say how large it is')
    bits, count = max(tags.get(TAGS.BitsPerSample, (1,))), tags.get(TAGS.SamplesPerPixel, 1)
    kind = tags.get(TAGS.PhotometricInterpretation, -1)
    few = kind in GREY or (kind == RGB and count > 3 and not tags.get(TAGS.ExtraSamples))
    misread = is_apart(tags) and (few if bits <= 8 else kind == INKS)
    strange = bits > 8 and (kind < 0 or count < CHANNELS.get(kind, 1) or tags.get(TAGS.Compression, 1) not in PACKED)
    # one channel of 32 bits with signs is what Pillow writes of its integers
    signed = SIGNED in tags.get(TAGS.SampleFormat, ()) and (bits < 32 or count > 1)
    if misread or strange or signed:
        raise ValueError(not_read(tags))


def together(data: bytes, tags: Tags) -> bytes:
    """The file; one of a single channel does not say that its channels lie apart, which decoders stumble over."""
    alone = tags.get(TAGS.PlanarConfiguration) == APART and tags.get(TAGS.SamplesPerPixel, 1) == 1
    return with_tag(data, TAGS.PlanarConfiguration, TOGETHER) if alone else data


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """With another small number in a tag of the first picture, where it has that tag."""
    order: Literal['little', 'big'] = 'little' if data[:2] == b'II' else 'big'
    if data[:4] not in (*CLASSIC, *BIG):
        return data
    place, counts, entry = (8, 8, 20) if data[:4] in BIG else (4, 2, 12)  # bytes
    tags = int.from_bytes(data[8:16] if data[:4] in BIG else data[4:8], order)
    for i in range(int.from_bytes(data[tags : tags + counts], order)):
        at = tags + counts + entry * i
        if at > len(data):
            break
        if int.from_bytes(data[at : at + 2], order) == tag:
            there = at + 4 + place
            return data[:there] + value.to_bytes(2, order) + data[there + 2 :]
    return data


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


def not_read(tags: Tags, packed: bool | None = None) -> str:
    """'it is a TIFF of 2 channels of 16-bit numbers, which is not read ...'."""
    count, bits = tags.get(TAGS.SamplesPerPixel, 1), max(tags.get(TAGS.BitsPerSample, (1,)))
    kind = {2: 'numbers with signs', FLOATS: 'floats'}.get(max(tags.get(TAGS.SampleFormat, (1,))), 'numbers')
    colours = COLOURS.get(tags.get(TAGS.PhotometricInterpretation, 1), '')
    channels = f'{colours} in ' * bool(colours) + ('one channel' if count == 1 else f'{count} channels')
    apart = ' that lie apart' if is_apart(tags) else ''
    packed = tags.get(TAGS.Compression, 1) not in PACKED if packed is None else packed
    how = ', not compressed' if packed else ''
    what = f'it is a TIFF of {channels} of {bits}-bit {kind}{apart}, which is not read'
    return f'{what}: save it as RGB or grey of 8 or 16 bits{how}'
