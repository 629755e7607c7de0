"""What a small prompt extractor can be taught without labels: statistics of a clean picture.

Every token learns the colours and gradient orientations of its cell, and the tagging head learns 32 words that
follow from the whole picture. Both are fixed functions of the clean image, so that nothing has to be annotated.
"""

import jax
import jax.numpy as jnp
import numpy as np

COLOUR_BINS, ORIENTATION_BINS = 8, 8
TOKEN_DIM = 3 * COLOUR_BINS + 4 * ORIENTATION_BINS + 8  # 64
HUES = ('red', 'orange', 'yellow', 'green', 'cyan', 'blue', 'purple', 'grey')
PLACES = ('top', 'middle', 'bottom')
WORDS = (
    *(f'{hue} {place}' for place in PLACES for hue in HUES),
    *('dark', 'bright', 'faint', 'contrasty', 'smooth', 'detailed', 'horizontal', 'vertical'),
)
_HUE_CENTRES = np.array([0, 30, 60, 120, 180, 225, 290]) / 360  # of the first seven
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def token_targets(images: jax.Array, cells: int) -> jax.Array:
    """[B, 1 + cells^2, 64] targets of images [B, S, S, 3] in [0, 1]; token 0 is the mean of the others.

    A cell's 64 numbers: soft colour histograms (3 x 8), gradient magnitude by orientation in its four quarters
    (4 x 8), mean and deviation of each channel, fine and coarse gradient energy. All lie in about [-2, 2].
    """
    histogram = _soft_histogram(images.reshape(*images.shape[:3], 3))  # [B, S, S, 24]
    dy, dx = _gradients(images @ _LUMA)
    magnitude = jnp.sqrt(dy**2 + dx**2 + 1e-8)
    orientation = _orientation(dy, dx)  # [B, S, S, 8]
    quarters = _pool(orientation * magnitude[..., None], 2 * cells)  # [B, 2 cells, 2 cells, 8]
    b = images.shape[0]
    quarters = quarters.reshape(b, cells, 2, cells, 2, ORIENTATION_BINS).transpose(0, 1, 3, 2, 4, 5)
    mean = _pool(images, cells)
    deviation = jnp.sqrt(jnp.maximum(_pool(images**2, cells) - mean**2, 0) + 1e-6)
    coarse = _gradients(_pool(images @ _LUMA, images.shape[1] // 2))
    energy = jnp.stack(
        [_pool(magnitude, cells), _pool(jnp.sqrt(coarse[0] ** 2 + coarse[1] ** 2 + 1e-8), cells)], axis=-1
    )
    parts = [
        2 * _pool(histogram, cells),
        3 * jnp.sqrt(quarters.reshape(b, cells, cells, -1)),
        2 * mean - 1,
        4 * deviation,
        3 * jnp.sqrt(energy),
    ]
    tokens = jnp.concatenate(parts, axis=-1).reshape(b, cells**2, TOKEN_DIM)
    return jnp.concatenate([tokens.mean(axis=1, keepdims=True), tokens], axis=1)


def word_targets(images: jax.Array) -> jax.Array:
    """[B, 32] in {0, 1}: which of WORDS hold for images [B, S, S, 3] in [0, 1]."""
    b, size = images.shape[:2]
    thirds = _hue_weights(images)[:, : size // 3 * 3].reshape(b, 3, -1, len(HUES)).mean(axis=2)
    luma = images @ _LUMA
    mean, deviation = luma.mean(axis=(1, 2)), luma.std(axis=(1, 2))
    dy, dx = _gradients(luma)
    vertical_change, horizontal_change = jnp.abs(dy).mean(axis=(1, 2)), jnp.abs(dx).mean(axis=(1, 2))
    energy = vertical_change + horizontal_change
    whole = [
        mean < 0.3,
        mean > 0.6,
        deviation < 0.12,
        deviation > 0.25,
        energy < 0.03,
        energy > 0.1,
        vertical_change > 1.3 * horizontal_change,
        horizontal_change > 1.3 * vertical_change,
    ]
    words = jnp.concatenate([thirds.reshape(b, -1) > 0.2, jnp.stack(whole, axis=1)], axis=1)
    return words.astype(jnp.float32)


def _soft_histogram(images: jax.Array) -> jax.Array:
    """Each value shared linearly by its two nearest bins: [..., 3] -> [..., 24]."""
    position = images[..., None] * (COLOUR_BINS - 1) - jnp.arange(COLOUR_BINS, dtype=images.dtype)
    weights = jnp.maximum(1 - jnp.abs(position), 0)
    return weights.reshape(*images.shape[:-1], -1)


def _orientation(dy: jax.Array, dx: jax.Array) -> jax.Array:
    """Soft assignment of the gradient's angle modulo pi to 8 bins: [..., 8]."""
    angle = jnp.arctan2(dy, dx) / jnp.pi % 1 * ORIENTATION_BINS
    distance = jnp.abs(angle[..., None] - jnp.arange(ORIENTATION_BINS, dtype=dy.dtype))
    return jnp.maximum(1 - jnp.minimum(distance, ORIENTATION_BINS - distance), 0)


def _hue_weights(images: jax.Array) -> jax.Array:
    """Share of each hue in a pixel, grey where it is hardly coloured: [B, S, S, 8]."""
    high, low = images.max(axis=-1), images.min(axis=-1)
    chroma = high - low
    r, g, blue = images[..., 0], images[..., 1], images[..., 2]
    safe = jnp.maximum(chroma, 1e-6)
    sector = jnp.where(
        high == r, (g - blue) / safe % 6, jnp.where(high == g, (blue - r) / safe + 2, (r - g) / safe + 4)
    )
    distance = jnp.abs(sector[..., None] / 6 - _HUE_CENTRES.astype(np.float32))
    nearest = jax.nn.one_hot(jnp.argmin(jnp.minimum(distance, 1 - distance), axis=-1), len(HUES) - 1)
    coloured = (chroma > 0.15)[..., None]
    grey = jnp.where(coloured, 0.0, 1.0)
    return jnp.concatenate([nearest * coloured, grey], axis=-1)


def _gradients(luma: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Central differences of [B, S, S] with replicated borders."""
    padded = jnp.pad(luma, ((0, 0), (1, 1), (1, 1)), mode='edge')
    return (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2, (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2


def _pool(x: jax.Array, cells: int) -> jax.Array:
    """Mean over a grid of cells: [B, S, S, ...] -> [B, cells, cells, ...]."""
    b, size = x.shape[:2]
    side = size // cells
    return x.reshape(b, cells, side, cells, side, *x.shape[3:]).mean(axis=(2, 4))
