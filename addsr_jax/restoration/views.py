"""What the networks see of a user's picture, and the way back to the size that was asked for (test_addsr.py)."""

import numpy as np
from PIL import Image

from addsr_jax.data.resize import resize
from addsr_jax.specs import ViewSpec

BICUBIC = Image.Resampling.BICUBIC


def enlarged(small: np.ndarray, scale: float, view: ViewSpec) -> np.ndarray:
    """The picture to restore, [H, W, 3]: not below the model's smallest output, sides of its multiple."""
    height, width = small.shape[:2]
    least = int(view.smallest_output // scale)
    if min(width, height) < least:
        ratio = least / min(width, height)
        width, height = int(width * ratio), int(height * ratio)
        small = sized(small, width, height)
    large = sized(small, times(width, scale), times(height, scale))
    height, width = (n // view.multiple * view.multiple for n in large.shape[:2])
    return sized(large, max(width, view.multiple), max(height, view.multiple))


def times(side: int, scale: float) -> int:
    """Pixels of a side that is enlarged."""
    return max(1, round(side * scale))


def at_least(small: np.ndarray, side: int) -> np.ndarray:
    """[H, W, 3] mirrored to the right and below until no side is shorter."""
    more = [(0, max(side - n, 0)) for n in small.shape[:2]]
    return np.pad(small, (*more, (0, 0)), mode='symmetric') if any(after for _, after in more) else small


def small_view(small: np.ndarray, side: int) -> np.ndarray:
    """uint8 [H, W, 3] -> [1, side, side, 3] in [0, 1]: the file as the prompt extractor first sees it, aspect not
    kept."""
    return resize(small.astype(np.float32) / np.float32(255), (side, side), 'bilinear')[None]


def sized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 or uint16 [H, W] or [H, W, C] -> the same of height x width, bicubic."""
    if image.shape[:2] == (height, width):
        return image
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize((width, height), BICUBIC))
    planes = [image[..., c] for c in range(image.shape[2])] if image.ndim == 3 else [image]
    floats = (Image.fromarray(plane.astype(np.float32)) for plane in planes)
    done = [np.asarray(plane.resize((width, height), BICUBIC)) for plane in floats]
    rounded = np.rint(np.clip(np.stack(done, -1), 0, np.iinfo(image.dtype).max)).astype(image.dtype)
    return rounded if image.ndim == 3 else rounded[..., 0]
