"""Convolutions of 3 x 3 on a CPU: as XLA computes them, and with 2.25 times fewer multiplications, as Winograd did.

    JAX_PLATFORMS=cpu python -m benchmarks.convolutions

Layers of Stable Diffusion 2's decoder and UNet, and of the embedded model, float32, batch 1. GFLOP/s count the work of
the plain convolution in both columns, beside a product of two large matrices, which nothing that multiplies as often
can pass. F(2 x 2, 3 x 3) of Lavin and Gray (arXiv 1509.09308): tiles of 4 x 4 become 16 products of matrices.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.flags import say

LAYERS = (  # side, channels in, channels out
    ("SD-2's decoder", 64, 512, 512),
    ("SD-2's decoder", 128, 512, 512),
    ("SD-2's decoder", 256, 256, 256),
    ("SD-2's decoder", 256, 128, 128),
    ("SD-2's UNet", 64, 320, 320),
    ("SD-2's UNet", 32, 640, 640),
    ('nano', 512, 32, 32),
    ('nano', 256, 64, 64),
    ('nano', 128, 96, 96),
    ('nano', 64, 96, 96),
)
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)  # G of the paper
HEAD = (
    '| layer | pixels | channels | GFLOP | GFLOP/s | as Winograd | error |\n| --- | --- | --- | --- | --- | --- | --- |'
)


def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B, H, W, C], kernel [3, 3, C, O] -> [B, H, W, O]."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def winograd(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same, of even H and W: equation 8 of the paper, its transforms written out."""
    batch, height, width, channels = x.shape
    rows, columns, out = height // 2, width // 2, kernel.shape[-1]
    kernels = jnp.einsum('ia,abco,jb->ijco', KERNEL, kernel, KERNEL)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    tiles = [[padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for j in range(4)] for i in range(4)]
    seen = _both_ways(tiles, lambda d: [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]])
    products = [[seen[i][j].reshape(-1, channels) @ kernels[i, j] for j in range(4)] for i in range(4)]
    found = _both_ways(products, lambda m: [m[0] + m[1] + m[2], m[1] - m[2] - m[3]])
    shape = (batch, rows, columns, out)
    result = jnp.stack([jnp.stack([part.reshape(shape) for part in row], 3) for row in found], 2)
    return result.reshape(batch, height, width, out)


def _both_ways(
    tiles: Sequence[Sequence[jax.Array]], transform: Callable[[Sequence[jax.Array]], list[jax.Array]]
) -> list[list[jax.Array]]:
    """`transform` along both axes of a square of arrays."""
    half = [transform(column) for column in zip(*tiles, strict=True)]
    return [transform(row) for row in zip(*half, strict=True)]


def seconds(function: Callable[..., jax.Array], *given: jax.Array) -> float:
    """The median of nine calls."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*given))
    found = []
    for _ in range(9):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*given))
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def main() -> None:
    random = np.random.default_rng(0)
    say(HEAD)
    large = jnp.asarray(random.normal(size=(2048, 2048)), jnp.float32)
    work = 2 * 2048**3 / 1e9
    say(
        f'| product of two matrices | 2048 x 2048 | | {work:.1f} | {work / seconds(jnp.matmul, large, large):.0f} | | |'
    )
    for name, side, channels, out in LAYERS:
        x = jnp.asarray(random.normal(size=(1, side, side, channels)), jnp.float32)
        kernel = jnp.asarray(random.normal(size=(3, 3, channels, out)) / np.sqrt(9 * channels), jnp.float32)
        work = 2 * 9 * side * side * channels * out / 1e9
        rates = [work / seconds(function, x, kernel) for function in (plain, winograd)]
        error = float(jnp.abs(winograd(x, kernel) - plain(x, kernel)).max())
        say(
            f'| {name} | {side} x {side} | {channels} to {out} | {work:.1f} | {rates[0]:.0f} | {rates[1]:.0f} | '
            f'{error:.0e} |'
        )


if __name__ == '__main__':
    main()
