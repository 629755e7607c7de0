"""What the networks see of a user's picture, and the way back to the size that was asked for (test_addsr.py)."""

import numpy as np
from PIL import Image

from addsr_jax.data.resize import resize
from addsr_jax.specs import ViewSpec

BICUBIC = Image.Resampling.BICUBIC


def enlarged(small: Image.Image, scale: int, view: ViewSpec) -> Image.Image:
    """The picture to restore: not below the model's smallest output, sides of its multiple."""
    least = view.smallest_output // scale
    if min(small.size) < least:
        ratio = least / min(small.size)
        small = small.resize((int(small.width * ratio), int(small.height * ratio)), BICUBIC)
    large = small.resize((small.width * scale, small.height * scale), BICUBIC)
    even = (large.width // view.multiple * view.multiple, large.height // view.multiple * view.multiple)
    return large if even == large.size else large.resize(even, BICUBIC)


def small_view(small: Image.Image, side: int) -> np.ndarray:
    """[1, side, side, 3] in [0, 1]: the file as the prompt extractor first sees it, aspect not kept."""
    return resize(np.asarray(small).astype(np.float32) / np.float32(255), (side, side), 'bilinear')[None]


def sized(restored: np.ndarray, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [height, width, 3]."""
    if restored.shape[:2] == (height, width):
        return restored
    return np.asarray(Image.fromarray(restored).resize((width, height), BICUBIC))
