"""Texture that a picture has and its original has not: power beyond the original's, by place, scale and direction."""

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.ops.ycbcr import TO_YCBCR

SIDE, STRIDE = 32, 16  # pixels of a window, and between windows
CHANCE = 0.5  # by which log power of one texture differs between two places
FLOOR = 1 / 127.5  # one level of 255: what varies by less is as good as plain


def log_spectra(images: jax.Array) -> jax.Array:
    """[B, H, W, 3] in [-1, 1] -> [B, windows, SIDE - 2, SIDE / 2 - 1]: log power of luma by frequency.

    Power is the mean over three by three neighbouring frequencies, or chance would decide it.
    """
    luma = images.astype(jnp.float32) @ TO_YCBCR[0]
    ramp = np.hanning(SIDE + 2)[1:-1].astype(np.float32)
    weights = ramp[:, None] * ramp
    starts = [range(0, n - SIDE + 1, STRIDE) for n in luma.shape[1:]]
    windows = jnp.stack([luma[:, y : y + SIDE, x : x + SIDE] for y in starts[0] for x in starts[1]], axis=1)
    windows = windows - windows.mean(axis=(2, 3), keepdims=True)
    power = jnp.abs(jnp.fft.rfft2(windows * weights)) ** 2 / (weights**2).sum()
    around = jax.lax.reduce_window(power, 0.0, jax.lax.add, (1, 1, 3, 3), (1, 1, 1, 1), 'VALID') / 9
    return jnp.log(around + FLOOR**2)


def excess(images: jax.Array, originals: jax.Array) -> jax.Array:
    """[B]: how far log power lies above the originals', and above chance; means over windows and frequencies.

    Both [B, H, W, 3] in [-1, 1]. Texture that is missing costs nothing here.
    """
    return jax.nn.relu(log_spectra(images) - log_spectra(originals) - CHANCE).mean(axis=(1, 2, 3))
