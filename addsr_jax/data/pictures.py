"""The one reader of pictures, for training, the commands and the Python API alike: uint8 [H, W, 3] RGB, as it looks.

Turned as EXIF says; transparency on white; grey repeated; palettes, CMYK and other colours as RGB; more than 8 bits
scaled to 8; the first picture of several. Colour profiles are not applied.

Files are read by Pillow's decoders of `FORMATS` alone: never by one that starts a program, like that of PostScript.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from addsr_jax import places
from addsr_jax.errors import UserError, printable

# Pillow's names of formats, and endings of files. TGA is last: its files have no signature.
FORMATS = {
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'PNG': ('.png', '.apng'),
    'WEBP': ('.webp',),
    'TIFF': ('.tif', '.tiff'),
    'BMP': ('.bmp',),
    'GIF': ('.gif',),
    'AVIF': ('.avif',),
    'JPEG2000': ('.jp2', '.j2k', '.jpx', '.jpf', '.jpc', '.j2c'),
    'PPM': ('.ppm', '.pgm', '.pbm', '.pnm', '.pfm'),
    'QOI': ('.qoi',),
    'TGA': ('.tga',),
}
ENDINGS = frozenset(ending for endings in FORMATS.values() for ending in endings)
ANIMATED = ('GIF', 'PNG', 'WEBP', 'AVIF')
LIMIT = 178_956_970  # pixels of a picture, Pillow's own limit; checked before anything is decoded


def decode(data: bytes, name: str) -> np.ndarray:
    """Encoded bytes -> uint8 [H, W, 3]; a UserError that begins with `name` where that is impossible."""
    with _named(name), Image.open(io.BytesIO(data), formats=_formats()) as image:
        return _pixels(image)


def read(path: Path) -> np.ndarray:
    """`decode` of a file; only regular files are opened."""
    return decode(_content(path), str(path))


def from_pillow(image: Image.Image, name: str = 'the picture') -> np.ndarray:
    """What `decode` makes of the file that Pillow has opened, or of a picture of the same kind."""
    with _named(name):
        return _pixels(image)


def is_animation(path: Path) -> bool:
    """Whether a readable file holds several frames, of which `read` returns the first."""
    with _named(str(path)), Image.open(io.BytesIO(_content(path)), formats=_formats()) as image:
        return image.format in ANIMATED and getattr(image, 'is_animated', False)


def _content(path: Path) -> bytes:
    """Of a regular file. Read whole, since a decoder would reserve as much as a damaged length inside asks for."""
    with _named(str(path)):
        return places.read_bytes(path)


def _pixels(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of an opened picture; ValueError and all that Pillow raises where there is none."""
    if image.width * image.height > LIMIT:
        raise Image.DecompressionBombError
    if min(image.size) < 1:
        raise ValueError('it has no pixels')
    image.load()
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        rgb = np.repeat(_deep_grey(image)[..., None], 3, axis=2)
    else:
        rgb = np.asarray(_rgb(image))
    return _turned(rgb, _orientation(image))


def _rgb(image: Image.Image) -> Image.Image:
    """8-bit picture of any mode -> RGB, transparency on white."""
    if image.has_transparency_data:
        rgba = (image.convert('LA') if image.mode == 'La' else image).convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return image if image.mode == 'RGB' else image.convert('RGB')


def _deep_grey(image: Image.Image) -> np.ndarray:
    """Grey of more than 8 bits -> uint8 [H, W]; white is 65535, in floats 1, or 255 where one is above 1."""
    values, tags = np.asarray(image), getattr(image, 'tag_v2', {})
    lowest, highest = values.min(), values.max()
    if image.mode == 'F':
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise ValueError('it holds numbers that are not finite')
        white = 1 if highest <= 1 else 255
    else:
        white = 4095 if tags.get(ExifTags.Base.BitsPerSample) == (12,) else 65535
    if lowest < 0 or highest > white:
        raise ValueError(f'its values reach from {lowest:g} to {highest:g}, beyond 0 to {white}')
    grey = np.rint(values.astype(np.float64) * (255 / white)).astype(np.uint8)
    if image.mode != 'I' and tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        grey = 255 - grey  # in a TIFF of this kind 0 is white, which Pillow leaves to its callers
    clear = image.info.get('transparency')
    return grey if clear is None else np.where(values == clear, np.uint8(255), grey)


def _orientation(image: Image.Image) -> int:
    """EXIF's number, 1 to 8; 1 where EXIF is absent or damaged, which is no reason to refuse the pixels."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _turned(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """Upright, by EXIF's orientation."""
    if orientation in (5, 6, 7, 8):
        rgb = rgb.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rgb = rgb[::-1]
    if orientation in (2, 3, 6, 7):
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(rgb)


@cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever a decoder raises inside becomes one UserError with the name; its warnings are not shown."""
    try:
        with _QUIET:
            yield
    except Exception as error:  # decoders raise nearly everything, a MemoryError for a damaged length among it
        raise UserError(f'{printable(name, 4096)} cannot be read as an image: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        return f'it has more than {LIMIT} pixels, the most that is read'
    if isinstance(error, UnidentifiedImageError):
        return f'it is no {", ".join(_formats()[:-1])} or {_formats()[-1]} file, or damaged'
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(text) or type(error).__name__


class _Quiet:
    """Pillow's warnings are not shown while any thread is inside.

    The filters of `warnings` belong to the whole process: the first thread to enter sets, the last to leave resets.
    """

    def __init__(self):
        self.lock, self.inside, self.filters = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.filterwarnings('ignore', module=r'PIL\.')
            self.inside += 1

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)


_QUIET = _Quiet()
