"""Colour profiles (ICC.1): pixels of a profile's colours to sRGB and back.

Eight bits go through LittleCMS, as Pillow has it. It takes no more bits, so 16 go by the formula of profiles that are
curves and a matrix, as those of cameras and screens are (ICC.1:2022, 8.3.3); ones made of tables are applied at 8 bits.
"""

import io
import struct
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageCms

SPACES = {'RGB ': 'RGB', 'GRAY': 'L', 'CMYK': 'CMYK'}  # a profile's colour space: the mode of its pictures
INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
# sRGB's primaries and white as its profile has them, adapted to D50; XYZ of linear RGB (ICC's sRGB profile).
TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
SAMPLES = 4096  # of a curve
TABLES = 'its colour profile is made of tables and applied at 8 bits'


class BrokenProfile(ValueError):
    """Bytes that are no profile, or one that no picture can be converted by."""


class OtherSpace(BrokenProfile):
    """A profile of colours that no picture here has: its text is their name, like 'Lab'."""


def space(profile: bytes) -> str:
    """Mode of the pictures that a profile is for: 'RGB', 'L', 'CMYK'. OtherSpace, or BrokenProfile for damage."""
    try:
        found = str(getattr(_opened(profile).profile, 'xcolor_space', ''))
    except Exception as error:  # LittleCMS says little, Pillow raises OSError
        raise BrokenProfile(str(error)) from error
    if found not in SPACES:
        raise OtherSpace(found.strip())
    return SPACES[found]


def to_srgb(pixels: np.ndarray, profile: bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint8 or uint16 in the profile's colours, [H, W] or [H, W, 3 or 4] -> (the same type [H, W, 3] in sRGB, remarks).

    What sRGB lacks is cut off. BrokenProfile where the profile leads nowhere.
    """
    found, remarks = shaper(profile) if pixels.dtype == np.uint16 else None, ()
    if found is not None:
        wide = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        return _deep_to_srgb(wide, found), ()
    if pixels.dtype == np.uint16:
        pixels, remarks = np.rint(pixels / np.float32(257)).astype(np.uint8), (TABLES,)
    rgb = _applied(pixels, profile, 'sRGB')
    rgb = rgb if pixels.ndim == 3 else np.repeat(rgb[..., 1:2], 3, axis=2)
    return (rgb.astype(np.uint16) * 257 if remarks else rgb), remarks


def from_srgb(rgb: np.ndarray, profile: bytes) -> np.ndarray:
    """uint8 or uint16 [H, W, 3] in sRGB -> [H, W, channels] in the profile's colours.

    BrokenProfile where it only leads the other way.
    """
    found = shaper(profile) if rgb.dtype == np.uint16 else None
    if found is not None:
        return _deep_from_srgb(rgb, found)[..., : 1 if found.matrix is None else 3]
    small = rgb if rgb.dtype == np.uint8 else np.rint(rgb / np.float32(257)).astype(np.uint8)
    done = _applied(small, 'sRGB', profile)
    done = done if done.ndim == 3 else done[..., None]
    return done if rgb.dtype == np.uint8 else done.astype(np.uint16) * 257


@lru_cache(maxsize=16)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile of RGB changes no pixel by more than one level, so that there is nothing to convert."""
    steps = np.linspace(0, 255, 18).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing='ij'), -1).reshape(18, -1, 3)
    return bool(np.abs(_applied(cube, profile, 'sRGB').astype(int) - cube).max() <= 1)


@cache
def srgb() -> bytes:
    """sRGB's own profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def _opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=16)
def _transform(source: bytes | str, target: bytes | str) -> ImageCms.ImageCmsTransform:
    """From one profile to another; 'sRGB' for Pillow's own."""
    source_end, target_end = (
        ImageCms.createProfile('sRGB') if isinstance(end, str) else _opened(end) for end in (source, target)
    )
    mode, made = ('RGB' if isinstance(end, str) else space(end) for end in (source, target))
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC
    return ImageCms.buildTransform(source_end, target_end, mode, made, INTENT, flags)


def _applied(pixels: np.ndarray, source: bytes | str, target: bytes | str) -> np.ndarray:
    """uint8 from one profile's colours to another's."""
    mode = 'L' if pixels.ndim == 2 else {3: 'RGB', 4: 'CMYK'}[pixels.shape[2]]
    image = Image.frombytes(mode, pixels.shape[1::-1], pixels.tobytes())
    try:
        return np.asarray(ImageCms.applyTransform(image, _transform(source, target)))
    except Exception as error:  # LittleCMS says little, and Pillow raises several kinds
        raise BrokenProfile(str(error)) from error


@dataclass(frozen=True)
class Shaper:
    """A profile of curves and a matrix: numbers of the file in 0..1 -> linear -> XYZ."""

    curves: tuple[np.ndarray, ...]  # [SAMPLES] each: one, or one of each of R, G and B
    matrix: np.ndarray | None  # [3, 3]; None for grey


@lru_cache(maxsize=16)
def shaper(profile: bytes) -> Shaper | None:
    """The curves and the matrix of a profile; None for one that works by tables. BrokenProfile for damage."""
    kind = space(profile)
    try:
        count = struct.unpack_from('>I', profile, 128)[0]
        entries = [struct.unpack_from('>4sII', profile, 132 + 12 * i) for i in range(min(count, 200))]
        tags = {name.decode('latin-1'): profile[start : start + size] for name, start, size in entries}
        if 'A2B0' in tags or kind == 'CMYK':
            return None
        if kind == 'L':
            return Shaper((_curve(tags['kTRC']),), None)
        columns = [np.array(struct.unpack_from('>3i', tags[f'{c}XYZ'], 8)) / 65536 for c in 'rgb']
        return Shaper(tuple(_curve(tags[f'{c}TRC']) for c in 'rgb'), np.stack(columns, 1))
    except (KeyError, struct.error, ValueError) as error:
        raise BrokenProfile(f'its curves cannot be read ({error})') from error


def _deep_to_srgb(values: np.ndarray, found: Shaper) -> np.ndarray:
    """uint16 [H, W, 3] in a profile's colours (grey repeated) -> uint16 in sRGB; what sRGB lacks is cut off."""
    linear = _linear(values, found)
    if found.matrix is not None:
        linear = linear @ (np.linalg.inv(TO_XYZ) @ found.matrix).T.astype(np.float32)
    return _bytes16(_encoded(np.clip(linear, 0, 1)))


def _deep_from_srgb(values: np.ndarray, found: Shaper) -> np.ndarray:
    """The way back."""
    linear = _decoded(values.astype(np.float32) / np.float32(65535))
    if found.matrix is not None:
        linear = np.clip(linear @ (np.linalg.inv(found.matrix) @ TO_XYZ).T.astype(np.float32), 0, 1)
    at = np.linspace(0, 1, SAMPLES)
    curves = found.curves * (3 // len(found.curves))
    channels = [np.interp(linear[..., c], curve, at) for c, curve in enumerate(curves)]
    return _bytes16(np.stack(channels, -1))


def _linear(values: np.ndarray, found: Shaper) -> np.ndarray:
    at = np.linspace(0, 65535, SAMPLES)
    curves = found.curves * (3 // len(found.curves))
    tables = [np.interp(np.arange(65536), at, curve).astype(np.float32) for curve in curves]
    return np.stack([table[values[..., c]] for c, table in enumerate(tables)], -1)


def _curve(tag: bytes) -> np.ndarray:
    """[SAMPLES] that rise, of a 'curv' or a 'para' (10.6 and 10.18)."""
    x = np.linspace(0, 1, SAMPLES)
    kind, count = tag[:4], struct.unpack_from('>I', tag, 8)[0]
    if kind == b'curv':
        if count == 0:
            return x
        numbers = np.array(struct.unpack_from(f'>{count}H', tag, 12), float)
        y = x ** (numbers[0] / 256) if count == 1 else np.interp(x, np.linspace(0, 1, count), numbers / 65535)
    elif kind == b'para':
        y = _parametric(x, count >> 16, tag)
    else:
        raise ValueError(f'a curve of kind {kind!r}')
    if not np.isfinite(y).all() or y[-1] <= y[0]:
        raise ValueError('a curve that does not rise')
    return np.maximum.accumulate(np.clip(y, 0, 1))


def _parametric(x: np.ndarray, function: int, tag: bytes) -> np.ndarray:
    """Functions 0 to 4 of table 68."""
    count = {0: 1, 1: 3, 2: 4, 3: 5, 4: 7}[function]
    numbers = [n / 65536 for n in struct.unpack_from(f'>{count}i', tag, 12)]
    g, a, b, c, d, e, f = (*numbers, *(1.0, 0.0, 0.0, 0.0, 0.0, 0.0)[count - 1 :])
    if function in (1, 2):  # c is added, and what lies below -b / a is c
        shift, c = (c, 0.0) if function == 2 else (0.0, 0.0)
        d, e, f = (-b / a if a else 0.0), shift, shift
    with np.errstate(invalid='ignore'):
        return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)


def _decoded(x: np.ndarray) -> np.ndarray:
    """sRGB to linear, 0..1 (IEC 61966-2-1)."""
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encoded(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055).astype(np.float32)


def _bytes16(x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(x, 0, 1) * 65535).astype(np.uint16)
