"""What a picture file says beside its pixels: read so that damage there costs no pixels, and made ready to be written.

Orientation becomes 1, since pixels are turned when they are read.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import ExifTags, Image

TAGS = ExifTags.Base
# Where EXIF says what made a picture: 'the name and version of the software used to post-process'; cameras leave it.
MADE_BY = TAGS.ProcessingSoftware
# Tags of a TIFF that say how its pixels lie, or that have a place of their own in `Beside`.
OF_PIXELS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291)
) | frozenset((292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336, 338, 339, 340, 341))
OF_PIXELS |= frozenset((342, 347, 512, 513, 514, 515, 519, 520, 521, 529, 530, 531, 532, 700, 34377, 34675, 33723))
# What describes the pixels of the file that is left behind, in words: Photoshop's layers, GeoTIFF's places of them.
OF_OLD_PIXELS = {
    37724: 'Photoshop layers',
    33550: 'places on the map (GeoTIFF)',
    33922: 'places on the map (GeoTIFF)',
    34264: 'places on the map (GeoTIFF)',
}
OF_PIXELS |= frozenset(OF_OLD_PIXELS)
PHOTOSHOP, IPTC = 34377, 33723  # tags of TIFF
RESOURCE = re.compile(rb'8BIM\x04\x04\0\0(.{4})', re.DOTALL)  # of Photoshop's, that holds IPTC, and its length
NOT_KEPT = 'its IPTC data is not kept'
ENTRY = b'\x1c\x02'  # begins an entry of IPTC
OTHERWISE = ('XML:com.adobe.xmp', 'Raw profile type exif')  # texts of a PNG that are written as what they hold
EMPTY = 20  # bytes of EXIF without a tag, its head among them
XMP = 700  # a tag of TIFF
XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:="|>))[2-8](?=["<])')


@dataclass(frozen=True)
class Beside:
    """What is kept of a file beside its pixels."""

    exif: bytes = b''  # as Pillow takes it; orientation 1
    xmp: bytes = b''
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)  # of PNG; 'Comment' of JPEG and GIF
    lost: tuple[str, ...] = ()  # what is damaged or not kept, in words


def of(image: Image.Image) -> Beside:
    """Of a picture that Pillow has opened and decoded."""
    lost: list[str] = []
    exif, xmp, dpi, text = b'', b'', None, {}
    with _damage('EXIF', lost):
        found = image.getexif()
        if not len(found) and len(image.info.get('exif') or b'') > EMPTY:  # Pillow's decoders keep damage to themselves
            raise ValueError
        exif = exif_bytes(found)
        lost += left_behind(found)
    with _damage('XMP', lost):
        xmp = _xmp(image)
    with _damage('resolution', lost):
        dpi = _dpi(image)
    with _damage('text', lost):
        text = _text(image)
    if ENTRY in image.info.get('photoshop', {}).get(0x0404, b'') and NOT_KEPT not in lost:
        lost.append(NOT_KEPT)
    return Beside(exif, xmp, dpi, text, tuple(lost))


def of_tags(exif: Image.Exif) -> Beside:
    """Of a TIFF's own tags."""
    lost: list[str] = []
    kept, xmp = b'', b''
    with _damage('EXIF', lost):
        kept = exif_bytes(exif)
        lost += left_behind(exif)
    with _damage('XMP', lost):
        xmp = _upright(_bytes(exif, XMP))
    return Beside(kept, xmp, lost=tuple(lost))


@contextmanager
def _damage(what: str, lost: list[str]) -> Iterator[None]:
    """Whatever Pillow raises for a damaged part means that the part is left out, and said."""
    try:
        yield
    except Exception:  # Pillow promises no kind of error for what it parses when it is asked
        lost.append(f'its {what} is damaged and left out')


def orientation(image: Image.Image) -> int:
    """EXIF's number, 1 to 8; 1 where EXIF is absent or damaged, which is no reason to refuse the pixels."""
    try:
        return image.getexif().get(TAGS.Orientation, 1)
    except Exception:  # the same
        return 1


def exif_bytes(found: Image.Exif) -> bytes:
    """What of EXIF is not about the pixels of its file; b'' for nothing."""
    small = copy.copy(found)
    small.bigtiff = False  # whose directory Pillow writes and does not read
    exif = opened(small.tobytes()) if len(found) else found  # a copy, as the picture may be the caller's
    for tag in OF_PIXELS & set(exif):
        del exif[tag]
    if TAGS.Orientation in exif:
        exif[TAGS.Orientation] = 1
    return exif.tobytes() if len(exif) else b''


def left_behind(exif: Image.Exif) -> list[str]:
    """Of what describes other pixels, and of IPTC in a TIFF, the remarks that it is not kept."""
    gone = dict.fromkeys(words for tag, words in OF_OLD_PIXELS.items() if tag in exif)
    found = RESOURCE.search(block := _bytes(exif, PHOTOSHOP))
    inside = block[found.end() : found.end() + int.from_bytes(found[1], 'big')] if found else b''
    return [f'its {words} are not kept' for words in gone] + [NOT_KEPT] * (IPTC in exif or ENTRY in inside)


def _bytes(exif: Image.Exif, tag: int) -> bytes:
    """b'' where a tag is not there or holds numbers, of which Python would make as many bytes."""
    found = exif.get(tag)
    return found if isinstance(found, bytes) else b''


def _xmp(image: Image.Image) -> bytes:
    xmp = image.info.get('xmp') or b''
    return _upright(xmp.encode() if isinstance(xmp, str) else bytes(xmp))


def _upright(xmp: bytes) -> bytes:
    """As of pixels that have been turned."""
    return XMP_ORIENTATION.sub(rb'\g<1>1', xmp.rstrip(b'\0'))


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    dpi = image.info.get('dpi')
    found = (float(dpi[0]), float(dpi[1])) if dpi else None
    return found if found and all(0 < n < 1e6 for n in found) else None


def _text(image: Image.Image) -> dict[str, str]:
    texts = {str(k): str(v) for k, v in getattr(image, 'text', {}).items() if k not in OTHERWISE}
    comment = image.info.get('comment')
    if comment and image.format in ('JPEG', 'MPO', 'GIF'):
        texts['Comment'] = _decoded(comment) if isinstance(comment, bytes) else str(comment)
    return {key: value for key, value in texts.items() if 1 <= len(key) <= 79}


def _decoded(comment: bytes) -> str:
    """UTF-8, or what older programs wrote."""
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode('latin-1')


def sized(beside: Beside, width: int, height: int) -> Beside:
    """With the size of the result where EXIF says one."""
    exif = opened(beside.exif)
    if ExifTags.IFD.Exif not in exif:
        return beside
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, value in ((TAGS.ExifImageWidth, width), (TAGS.ExifImageHeight, height)):
        if tag in inner:
            inner[tag] = value
    return replace(beside, exif=exif.tobytes())


def made_by(beside: Beside, line: str) -> Beside:
    """With a line of what made the picture."""
    exif = opened(beside.exif)
    exif[MADE_BY] = line
    return replace(beside, exif=exif.tobytes())


def only_made_by(beside: Beside) -> Beside:
    """With no EXIF but that line: without it a result is not known again."""
    line = opened(beside.exif).get(MADE_BY)
    bare = replace(beside, exif=b'')
    return made_by(bare, line) if line else bare


def with_dpi(beside: Beside) -> Beside:
    """With the resolution in EXIF, for formats that have no other place for it."""
    exif = opened(beside.exif)
    if beside.dpi is None or TAGS.XResolution in exif:
        return beside
    exif[TAGS.XResolution], exif[TAGS.YResolution] = beside.dpi
    exif[TAGS.ResolutionUnit] = 2  # inches
    return replace(beside, exif=exif.tobytes())


def opened(exif: bytes) -> Image.Exif:
    """EXIF to look into and to change."""
    found = Image.Exif()
    if exif:
        found.load(exif)
    return found


def tiff_tags(beside: Beside) -> dict[int, Any]:
    """{tag: value} of EXIF for a TIFF, groups as dicts; and XMP and resolution."""
    exif = opened(beside.exif)
    tags = {tag: exif.get_ifd(tag) if tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) else exif[tag] for tag in exif}
    if beside.xmp:
        tags[700] = beside.xmp
    if beside.dpi:
        tags |= {TAGS.ResolutionUnit: 2, TAGS.XResolution: beside.dpi[0], TAGS.YResolution: beside.dpi[1]}
    return tags
