"""The last touch: colours of the low-quality picture (wavelet_color_fix.py of the original), grain smoothed."""

import jax
import numpy as np

from addsr_jax.ops import guided_filter
from addsr_jax.ops import image as image_ops

COLORS = {
    'guided': jax.jit(guided_filter.guided),
    'wavelet': jax.jit(image_ops.wavelet),
    'adain': jax.jit(image_ops.adain),
    'none': None,
}
_without_grain = jax.jit(guided_filter.without_grain)


def finished(restored: np.ndarray, lq: np.ndarray, color: str, grain: float, *, truncates: bool) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1], as uint8.

    color: a name of COLORS. grain: luma that varies by less, in levels of 255, is smoothed; 0: none.
    truncates: as the original, whose colour fix takes bytes and cuts off the fractions of its result.
    """
    fix = COLORS[color]
    if fix is not None:
        restored = fix(_bytes_as_floats(restored) if truncates else restored, lq)
    if grain:
        restored = _without_grain(restored, grain)
    cuts = truncates and fix is not None
    return (np.floor if cuts else np.rint)(_levels(np.asarray(restored))).astype(np.uint8)


def _bytes_as_floats(image: np.ndarray) -> np.ndarray:
    return np.rint(_levels(image)) / np.float32(127.5) - 1


def _levels(image: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, not yet bytes."""
    return (np.clip(image, -1, 1) + 1) * 127.5
