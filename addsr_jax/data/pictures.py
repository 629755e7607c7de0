"""The one reader of pictures, for training, `upscale`, `evaluate`, `tag` and Python.

Raster formats alone are opened, and none that needs another program; what a file is, its first bytes say and not its
name. Sizes are checked before anything is decoded. Whatever a damaged file makes the libraries raise is one UserError.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from addsr_jax.errors import UserError

# Pillow's names of what is opened, and the endings of such files.
FORMATS = ('PNG', 'JPEG', 'MPO', 'WEBP', 'TIFF', 'BMP', 'GIF', 'AVIF', 'PPM', 'JPEG2000')
ENDINGS = (
    *('.png', '.apng', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.tif', '.tiff', '.bmp', '.dib', '.gif', '.avif'),
    *('.ppm', '.pgm', '.pbm', '.pnm', '.jp2', '.j2k'),
)
MOST_PIXELS = 89_478_485  # of a file: above, Pillow warns of bombs
GREY_16 = ('I;16', 'I;16B', 'I;16L', 'I;16N', 'I')

warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)  # sizes are refused here, by name
warnings.filterwarnings('ignore', category=UserWarning, module=r'PIL\.')  # of small damage that is read over


def read(path: Path) -> np.ndarray:
    """uint8 [H, W, 3] RGB of a file, as `decode`; a UserError names the file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {reason(error)}') from error
    return decode(data, str(path))


def decode(data: bytes, name: str) -> np.ndarray:
    """Encoded bytes -> uint8 [H, W, 3] RGB by the rules of `rgb`; the first frame of animations.

    A UserError says `name`, and why it cannot be read as an image.
    """
    Image.init()
    formats = [kind for kind in FORMATS if kind in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as opened:
            check_size(opened.width, opened.height)
            return rgb(opened)
    except UserError as error:
        raise UserError(f'{name} cannot be read as an image: {error}') from error
    except UnidentifiedImageError as error:
        raise UserError(f'{name} cannot be read as an image: it is none of {", ".join(formats)}') from error
    except Exception as error:  # the libraries raise all kinds over files that are damaged or made to harm
        raise UserError(f'{name} cannot be read as an image: {reason(error)}') from error


def check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise UserError(f'it has {width} x {height} pixels, and {MOST_PIXELS} are the most: make it smaller first')


def rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3] of a Pillow image of any mode.

    Turned as its EXIF says; transparency on white; grey repeated; 16 bits as they look in 8; floating point in 0..1 or
    0..255.
    """
    image = turned(image)
    if image.mode in GREY_16:
        return _repeated(_bytes_of_16(np.asarray(image)))
    if image.mode == 'F':
        return _repeated(_bytes_of_floats(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', rgba.size, 'white'), rgba)
    return np.array(image.convert('RGB'))


def turned(image: Image.Image) -> Image.Image:
    """As its EXIF says; a picture whose EXIF is damaged stays as it is stored."""
    image.load()  # damage of the picture itself is no damage of its EXIF
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _bytes_of_16(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise UserError(f'its greys lie in {wide.min()}..{wide.max()}, and 16 bits hold 0..65535')
    return np.rint(wide / 257).astype(np.uint8)


def _bytes_of_floats(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UserError('it has pixels that are not finite')
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        raise UserError(f'its values lie in {low:g}..{high:g}: floating point is read in 0..1 or 0..255')
    return np.rint(values * (255 if high <= 1 else 1)).astype(np.uint8)


def _repeated(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


def reason(error: Exception) -> str:
    """An exception's first line, for one line of a message: escaped, and cut."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    return ''.join(c if c.isprintable() else repr(c)[1:-1] for c in text)[:120]
