"""One denoising of a large picture through overlapping windows of its latents.

The network sees one window after the other, and what it says is averaged where they overlap, at every step: so windows
agree with each other, which pictures restored one by one do not (MultiDiffusion, arXiv 2302.08113; the tile branch of
pipeline_addsr.py and pipeline_seesr.py).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

VARIANCE = 0.01  # of the weights, in sides of a window


@dataclass(frozen=True)
class Windows:
    """Squares of `side` latents, neighbours share `overlap` of them; and the autoencoder's own tiles. 0: whole."""

    side: int = 0
    overlap: int = 0
    encoder: int = 0  # pixels
    decoder: int = 0  # latents

    @property
    def tiled(self) -> bool:
        """Whether the autoencoder goes tile by tile, which is no one program: see `diffusion.stepwise`."""
        return bool(self.encoder or self.decoder)

    def needed(self, height: int, width: int) -> bool:
        """Latents of at most a window's area are denoised whole, as published."""
        return bool(self.side) and height * width > self.side**2

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of a window on latents of height x width: squares also where only one side is short."""
        side = min(self.side, height, width)
        return side, side

    def offsets(self, height: int, width: int) -> np.ndarray:
        """(top, left) of every window, int32 [n, 2], columns one after the other; the last of an axis ends with it.

        Windows that are smaller than asked for, on a picture with a short side, share half of themselves at most.
        """
        side, _ = self.shape(height, width)
        overlap = self.overlap if side == self.side else min(self.overlap, side // 2)
        lefts, tops = _starts(width, side, overlap), _starts(height, side, overlap)
        return np.asarray([(top, left) for left, top in itertools.product(lefts, tops)], np.int32)

    def weights(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(offsets, a window's weights [1, s, s, 1], their sum at every place [1, height, width, 1]), float32."""
        side, offsets = self.shape(height, width), self.offsets(height, width)
        weights = window_weights(*side).astype(np.float32)[None, :, :, None]
        total = np.zeros((1, height, width, 1), np.float32)
        for top, left in offsets:
            total[:, top : top + side[0], left : left + side[1]] += weights
        return offsets, weights, total


WHOLE = Windows()


def _starts(length: int, side: int, overlap: int) -> list[int]:
    starts, stride = [0], side - overlap
    while starts[-1] + side < length:
        starts.append(min(starts[-1] + stride, length - side))
    return starts


def window_weights(height: int, width: int) -> np.ndarray:
    """float64 [height, width]: a Gaussian around the window's middle; half a latent lower than that, as published."""
    y, x = (np.arange(height) - height / 2) / height, (np.arange(width) - (width - 1) / 2) / width
    profiles = (np.exp(-(u**2) / (2 * VARIANCE)) / np.sqrt(2 * np.pi * VARIANCE) for u in (y, x))
    return np.outer(*profiles)


def over_windows(windows: Windows, latents: jax.Array, see: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """Weighted mean over windows of see(window of latents [B, s, s, C], its (top, left)), [B, h, w, C] float32."""
    _, height, width, _ = latents.shape
    side = windows.shape(height, width)
    offsets, weights, total_weight = windows.weights(height, width)

    def add(total: jax.Array, offset: jax.Array) -> tuple[jax.Array, None]:
        seen = see(cut(latents, offset, side), offset)
        place = (0, offset[0], offset[1], 0)
        old = jax.lax.dynamic_slice(total, place, seen.shape)
        return jax.lax.dynamic_update_slice(total, old + weights * seen, place), None

    total, _ = jax.lax.scan(add, jnp.zeros(latents.shape, jnp.float32), jnp.asarray(offsets))
    return total / total_weight


def cut(array: jax.Array, offset: jax.Array, side: tuple[int, int], factor: int = 1) -> jax.Array:
    """[B, H, W, C] -> [B, factor s, factor s, C] at factor times (top, left)."""
    size = (array.shape[0], factor * side[0], factor * side[1], array.shape[3])
    return jax.lax.dynamic_slice(array, (0, factor * offset[0], factor * offset[1], 0), size)
