"""DiffAugment (Zhao et al. 2020) and the crop before a discriminator's features; all chance is handed in."""

import jax
import jax.numpy as jnp
from flax import struct

from addsr_jax.ops.image import resize


@struct.dataclass
class AugmentDraws:
    """Chance of DiffAugment and of the crop; what the batch shares is repeated along it. Pixels are integers."""

    shift: jax.Array  # [B, 2] rows and columns, in +- int(size / 8 + 0.5)
    cutout: jax.Array  # [B, 2] centre of the square
    crop: jax.Array  # [B] in [0, 1): below 0.5 takes a crop
    corner: jax.Array  # [B, 2] in [0, 1): where the crop lies


def draw_augment(key: jax.Array, batch: int, size: int) -> AugmentDraws:
    """Draws for images of `size` pixels; shift and cutout per sample, the crop one for the batch."""
    shift, cutout, crop, corner = jax.random.split(key, 4)
    reach, square = int(size * 0.125 + 0.5), cutout_side(size)
    samples = jnp.arange(batch)

    def each(k, low, high):
        return jax.vmap(lambda i: jax.random.randint(jax.random.fold_in(k, i), (2,), low, high))(samples)

    return AugmentDraws(
        shift=each(shift, -reach, reach + 1),
        cutout=each(cutout, 0, size + (1 - square % 2)),
        crop=jnp.broadcast_to(jax.random.uniform(crop), (batch,)),
        corner=jnp.broadcast_to(jax.random.uniform(corner, (2,)), (batch, 2)),
    )


def cutout_side(size: int) -> int:
    return int(size * 0.2 + 0.5)


def diff_augment(images: jax.Array, draws: AugmentDraws) -> jax.Array:
    """Translation and cutout with zeros (Zhao et al. 2020) of images [B, H, W, 3] in [-1, 1]."""
    return cutout(translate(images, draws.shift), draws.cutout)


def translate(images: jax.Array, shift: jax.Array) -> jax.Array:
    """Each image moved by `shift` [B, 2] pixels: out[i, j] = in[i + shift_0, j + shift_1], zero outside."""
    h, w = images.shape[1:3]

    def one(image, offset):
        rows, columns = jnp.arange(h) + offset[0], jnp.arange(w) + offset[1]
        inside = ((rows >= 0) & (rows < h))[:, None] & ((columns >= 0) & (columns < w))[None]
        moved = image[jnp.clip(rows, 0, h - 1)][:, jnp.clip(columns, 0, w - 1)]
        return moved * inside[..., None]

    return jax.vmap(one)(images, shift)


def cutout(images: jax.Array, centre: jax.Array) -> jax.Array:
    """A square of zeros, a fifth of the side, around `centre` [B, 2]; clamped to the borders."""
    h, w = images.shape[1:3]

    def covered(n: int, position: jax.Array) -> jax.Array:
        side = cutout_side(n)
        start = position - side // 2
        last = jnp.clip(start + side - 1, 0, n - 1)
        i = jnp.arange(n)
        return (i >= jnp.clip(start, 0, n - 1)[:, None]) & (i <= last[:, None])  # [B, n]

    hole = covered(h, centre[:, 0])[:, :, None] & covered(w, centre[:, 1])[:, None]
    return images * ~hole[..., None]


def to_feature_size(images: jax.Array, draws: AugmentDraws, size: int) -> jax.Array:
    """A random size x size crop of wider images with probability 1/2, the same for the batch; else area averages."""
    h, w = images.shape[1:3]
    shrunk = resize(images, (size, size), 'area')
    if w <= size:
        return shrunk
    corner = (draws.corner[0] * jnp.asarray([h - size + 1, w - size + 1])).astype(jnp.int32)
    cropped = jax.lax.dynamic_slice(
        images, (0, corner[0], corner[1], 0), (images.shape[0], size, size, images.shape[3])
    )
    return jnp.where(draws.crop[0] < 0.5, cropped, shrunk)
