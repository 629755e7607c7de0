"""The colours of the low-quality picture on the restored one (wavelet_color_fix.py of the original)."""

import jax
import numpy as np

from addsr_jax.ops import image as image_ops

FIXES = {'adain': jax.jit(image_ops.adain), 'wavelet': jax.jit(image_ops.wavelet), 'none': None}


def fixed(restored: np.ndarray, lq: np.ndarray, color: str, *, truncates: bool) -> np.ndarray:
    """`restored` with the colours of `lq`, both [H, W, 3] in [-1, 1], as uint8. color: a name of FIXES.

    truncates: as the original, which fixes bytes and cuts off the fractions of its result.
    """
    fix = FIXES[color]
    if fix is None:
        return np.rint(_levels(restored)).astype(np.uint8)
    if truncates:
        restored = np.rint(_levels(restored)) / np.float32(127.5) - 1
    levels = _levels(np.asarray(fix(restored, lq)))
    return (np.floor if truncates else np.rint)(levels).astype(np.uint8)


def _levels(image: np.ndarray) -> np.ndarray:
    """[-1, 1] to 0..255, not yet bytes."""
    return (np.clip(image, -1, 1) + 1) * 127.5
