"""Group norms of a picture that is seen tile by tile, with the statistics of the whole.

A network is run over all tiles with statistics that were found before, and finds those of what it sees; until both
agree. In every run of all tiles one norm more than in the last is exact, so that it ends.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.networks.layers import GroupNorm

AGREE = 2e-3  # in deviations: by how much statistics may differ from those that were used
SHARE, SAMPLE = 8, 8  # one in so many tiles, and so many at most, is run more often than all are
TINY = 1e-12  # a variance that is none

Statistics = dict[str, np.ndarray]  # norm -> mean and variance of each group, [2, B, groups]


@dataclass
class Norms:
    """In place of group norms: their statistics are given, and those of the tile's own part are found."""

    used: dict[str, jax.Array]
    core: jax.Array  # [2, 2], first and last of rows and columns, in latents
    own: jax.Array
    size: tuple[int, int]  # of the tile, in latents
    measured: dict[str, jax.Array] = field(default_factory=dict)

    def __call__(self, layer: GroupNorm, x: jax.Array) -> jax.Array:
        name, params = '/'.join(layer.path), layer.variables['params']
        b, h, w, c = x.shape
        wide = x.astype(jnp.float32).reshape(b, h, w, layer.groups, c // layer.groups)
        inside = self._inside(h, w)[None, :, :, None, None]
        count = inside.sum() * (c // layer.groups)
        mean = (wide * inside).sum(axis=(1, 2, 4)) / count
        variance = ((wide - mean[:, None, None, :, None]) ** 2 * inside).sum(axis=(1, 2, 4)) / count
        statistics = self.measured[name] = jnp.stack([mean, variance])
        if name in self.used:
            statistics = jnp.where(self.own > 0, statistics, self.used[name])
        mean, variance = statistics[:, :, None, None, :, None]
        normal = ((wide - mean) * jax.lax.rsqrt(variance + layer.epsilon)).reshape(x.shape)
        return (normal * params['scale'] + params['bias']).astype(layer.dtype)

    def _inside(self, height: int, width: int) -> jax.Array:
        """float32 [height, width]: 1 at what the tile gives of a level of that size."""
        axes = []
        for axis, length in enumerate((height, width)):
            place, (first, end) = jnp.arange(length), self.core[axis] * (length // self.size[axis])
            axes.append((place >= first) & (place < end))
        return (axes[0][:, None] & axes[1][None]).astype(jnp.float32)


def settle(norms: Statistics, tiles: int, gathered: Callable[[int, Statistics, bool], tuple[int, Statistics]]) -> int:
    """Runs all tiles, with statistics that agree with what they find; how many times it ran them all.

    Between two runs of all, a few tiles tell how what is found follows what is used: they are run until both agree but
    for what sets these tiles apart from all of them.
    """
    if not norms:
        for number in range(tiles):
            gathered(number, {}, False)
        return 1
    count = min(max(2, tiles // SHARE), SAMPLE, tiles)
    sample = [(2 * i + 1) * tiles // (2 * count) for i in range(count)]
    used = pooled([gathered(number, norms, True) for number in sample])
    if tiles == 1:
        return 1
    apart = None
    for passes in range(1, len(norms) + 2):
        for _ in norms:
            guess = moved(pooled([gathered(number, used, False) for number in sample]), apart)
            used, same = guess, agree(used, guess)
            if same:
                break
        each = [gathered(number, used, False) for number in range(tiles)]
        found = pooled(each)
        if agree(used, found):
            return passes
        apart, used = (pooled([each[number] for number in sample]), found), found
    return len(norms) + 1


def moved(statistics: Statistics, apart: tuple[Statistics, Statistics] | None) -> Statistics:
    """Statistics of a few tiles as those of all, by what both were when they were last found together."""
    if apart is None:
        return statistics
    result = {}
    for name, (mean, variance) in statistics.items():
        (few_mean, few_variance), (all_mean, all_variance) = apart[0][name], apart[1][name]
        ratio = (all_variance + TINY) / (few_variance + TINY)
        result[name] = np.stack([mean + all_mean - few_mean, variance * ratio])
    return result


def pooled(parts: Iterable[tuple[int, Statistics]]) -> Statistics:
    """Mean and variance over all parts together, each with its number of places."""
    weights, found = zip(*parts, strict=True)
    shares = np.asarray(weights, np.float64) / sum(weights)
    result = {}
    for name in found[0]:
        means, variances = np.moveaxis(np.asarray([part[name] for part in found], np.float64), 1, 0)
        mean = np.tensordot(shares, means, 1)
        result[name] = np.stack([mean, np.tensordot(shares, variances + (means - mean) ** 2, 1)]).astype(np.float32)
    return result


def agree(one: Statistics, other: Statistics) -> bool:
    """Whether every mean and deviation is the same, but for AGREE deviations."""
    for name in one:
        (mean, variance), (mean_too, variance_too) = one[name], other[name]
        deviation, deviation_too = np.sqrt(variance + TINY), np.sqrt(variance_too + TINY)
        apart = np.maximum(np.abs(mean - mean_too), np.abs(deviation - deviation_too))
        if not (apart <= AGREE * deviation_too).all():
            return False
    return True
