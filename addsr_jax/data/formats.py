"""Which kinds of picture files are read, which are written, and how they are told apart by their endings.

Files are opened by Pillow as one of `FORMATS` alone: never by a decoder that starts a program, like that of PostScript.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache

from addsr_jax.installation import with_extra

LIMIT = 178_956_970  # pixels of a picture, Pillow's own limit; checked before anything is decoded
HEIF = 'HEIF'  # read and written by pillow-heif, an extra

# Pillow's names of formats, and endings of files. TGA is last: its files have no signature.
FORMATS = {
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'PNG': ('.png', '.apng'),
    'WEBP': ('.webp',),
    'TIFF': ('.tif', '.tiff'),
    'BMP': ('.bmp',),
    'GIF': ('.gif',),
    'AVIF': ('.avif',),
    HEIF: ('.heic', '.heif', '.hif'),
    'JPEG2000': ('.jp2', '.j2k', '.jpx', '.jpf', '.jpc', '.j2c'),
    'PPM': ('.ppm', '.pgm', '.pbm', '.pnm', '.pfm'),
    'QOI': ('.qoi',),
    'TGA': ('.tga',),
}
ANIMATED = ('GIF', 'PNG', 'WEBP', 'AVIF', HEIF)  # several pictures of these are frames, of others pages


@dataclass(frozen=True)
class Written:
    """What a format that results are written in can hold."""

    longest: int  # pixels of a side
    modes: tuple[str, ...]  # of Pillow's pictures
    bits: int = 8  # of a channel, the most that is written
    lossy: bool = False  # has a quality


WRITTEN = {
    'PNG': Written(2**31 - 1, ('L', 'LA', 'RGB', 'RGBA'), bits=16),
    'JPEG': Written(65_500, ('L', 'RGB', 'CMYK'), lossy=True),
    'WEBP': Written(16_383, ('RGB', 'RGBA'), lossy=True),
    'TIFF': Written(2**31 - 1, ('L', 'LA', 'RGB', 'RGBA', 'CMYK'), bits=16),
    'BMP': Written(2**31 - 1, ('L', 'RGB')),
    'AVIF': Written(65_536, ('RGB', 'RGBA'), lossy=True),
    HEIF: Written(16_384, ('L', 'RGB', 'RGBA'), bits=10, lossy=True),
}
ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
WRITABLE = tuple(ending for name in WRITTEN for ending in FORMATS[name] if ending not in ('.jpe', '.jfif', '.apng'))
_OF_ENDING = {ending: name for name, endings in FORMATS.items() for ending in endings}


def of_ending(ending: str) -> str:
    """Pillow's name of the format of files that end in '.jpg'; '' for none that is known."""
    return _OF_ENDING.get(ending.lower(), '')


def has_heif() -> bool:
    """Whether pillow-heif is installed."""
    return importlib.util.find_spec('pillow_heif') is not None


def heif_missing() -> str:
    """What HEIC files lack where pillow-heif is not installed."""
    return f'HEIC files need pillow-heif: {with_extra("heic")}'


@cache
def readable() -> tuple[str, ...]:
    """Those of `FORMATS` that are read here."""
    from PIL import Image  # help texts name endings, and need no Pillow

    Image.init()
    if has_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def is_heif(data: bytes) -> bool:
    """Whether bytes begin as a HEIC file does."""
    return data[4:8] == b'ftyp' and data[8:12] in (
        b'heic',
        b'heix',
        b'heim',
        b'heis',
        b'hevc',
        b'hevx',
        b'mif1',
        b'msf1',
    )
