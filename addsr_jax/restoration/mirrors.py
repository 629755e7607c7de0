"""The mean over mirror images: what a sampler does to one side alone cancels."""

from collections.abc import Callable
from typing import Any

AXES = ((1,), (2,), (1, 2))  # of a batch of tiles; the picture as it is comes first


def mean(restored: Callable[[Any, Any], Any], lq: Any, noise: Any) -> Any:
    """Of restored(lq, noise) over four mirror images, each turned back: lq [B, H, W, 3], noise [B, N, h, w, C]."""
    total = restored(lq, noise)
    for axes in AXES:
        total = total + turned(restored(turned(lq, axes), turned(noise, tuple(axis + 1 for axis in axes))), axes)
    return total / (1 + len(AXES))


def turned(array: Any, axes: tuple[int, ...]) -> Any:
    """With the order along these axes reversed."""
    return array[tuple(slice(None, None, -1 if axis in axes else 1) for axis in range(array.ndim))]
