"""What the networks see of a user's picture, and the way back to the size that was asked for (test_addsr.py)."""

import numpy as np
from PIL import Image

from addsr_jax.specs import ViewSpec

BICUBIC = Image.Resampling.BICUBIC


def enlarged(small: np.ndarray, scale: float, view: ViewSpec) -> np.ndarray:
    """The picture to restore, [H, W, 3]: not below the model's smallest output, sides of its multiple."""
    height, width = small.shape[:2]
    small = sized(small, *_not_below(width, height, scale, view))
    large = sized(small, times(small.shape[1], scale), times(small.shape[0], scale))
    return sized(large, *enlarged_size(width, height, scale, view))


def enlarged_size(width: int, height: int, scale: float, view: ViewSpec) -> tuple[int, int]:
    """Width and height of `enlarged` of a picture of that width and height."""
    sides = (times(side, scale) // view.multiple for side in _not_below(width, height, scale, view))
    wide, tall = (max(count, 1) * view.multiple for count in sides)
    return wide, tall


def _not_below(width: int, height: int, scale: float, view: ViewSpec) -> tuple[int, int]:
    """The size, or a larger one of nearly its shape where the model's smallest output asks for it."""
    least = int(view.smallest_output // scale)
    if min(width, height) >= least:
        return width, height
    ratio = least / min(width, height)
    return int(width * ratio), int(height * ratio)


def times(side: int, scale: float) -> int:
    """Pixels of a side that is enlarged."""
    return max(1, round(side * scale))


def at_least(small: np.ndarray, side: int) -> np.ndarray:
    """[H, W, 3] mirrored to the right and below until no side is shorter."""
    more = [(0, max(side - n, 0)) for n in small.shape[:2]]
    return np.pad(small, (*more, (0, 0)), mode='symmetric') if any(after for _, after in more) else small


def sized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 or uint16 [H, W] or [H, W, C] -> the same of height x width, bicubic."""
    if image.shape[:2] == (height, width):
        return image
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), BICUBIC))
    planes = image if image.ndim == 3 else image[..., None]
    out = np.empty((height, width, planes.shape[2]), image.dtype)
    for c in range(planes.shape[2]):  # one after the other: Pillow resizes floats, which take much memory
        plane = np.array(Image.fromarray(planes[..., c].astype(np.float32)).resize((width, height), BICUBIC))
        out[..., c] = np.rint(np.clip(plane, 0, np.iinfo(image.dtype).max, out=plane), out=plane)
    return out if image.ndim == 3 else out[..., 0]
