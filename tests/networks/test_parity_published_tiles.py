"""Tiles of the autoencoder are cut as the published code cuts them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.networks.layers import GroupNorm
from tests import golden
from tests.networks import published_tiles as tiles

pytestmark = pytest.mark.parity
ROWS = [row for row in golden.cases('tiling')['vae_split_tiles']['table'] if row['tiled']]


@pytest.mark.parametrize('row', ROWS, ids=lambda r: f'{"x".join(map(str, r["hw"]))}_{r["tile_size"]}')
def test_what_tiles_see_and_give_is_as_recorded(row):
    (height, width), side, pad = row['hw'], row['tile_size'], row['pad']
    found = list(itertools.product(tiles.spans(height, side, pad), tiles.spans(width, side, pad)))
    sees = [[*x.sees, *y.sees] for y, x in found]
    gives = [[n * 8 if row['decoder'] else n // 8 for n in (*x.gives, *y.gives)] for y, x in found]
    kept = slice(None) if len(found) <= 25 else [*range(6), *range(len(found) - 6, len(found))]  # so were they recorded
    np.testing.assert_array_equal(np.asarray(sees)[kept], row['input_boxes'])
    np.testing.assert_array_equal(np.asarray(gives)[kept], row['output_boxes'])


def test_sizes_of_tiles_are_evened_as_recorded():
    for least, most, size in golden.cases('tiling')['vae_best_tile_size']['table']:
        assert tiles.balanced(least, most) == size


def test_every_pixel_is_given_by_one_tile():
    for length, side, pad in itertools.product((40, 96, 161, 513), (16, 64), (0, 11)):
        spans = tiles.spans(length, side, pad)
        assert [i for span in spans for i in range(*span.gives)] == list(range(length))


def test_a_picture_that_fits_is_taken_whole():
    whole = tiles._over_tiles(lambda x: x * 2, jnp.ones((1, 38, 20, 3)), 16, 11, 1, 1)
    np.testing.assert_array_equal(whole, 2 * np.ones((1, 38, 20, 3)))


def test_norms_of_equal_tiles_are_those_of_one_tile():
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 8))
    norm = GroupNorm(4, 1e-6)
    params = {'params': {'scale': jnp.arange(8.0), 'bias': jnp.ones(8)}}
    wanted = norm.apply(params, x[:, :4])
    tile = jnp.concatenate([x, x.at[:, 4:].set(jnp.nan)])  # the second is filled to its fourth row
    inside = tiles._inside(np.asarray([[4, 6], [4, 6]]), np.asarray([6, 6]), (6, 6))
    found = tiles._pooled_norm(norm.bind(params), tile, inside, 1)
    np.testing.assert_allclose(found[:, :4], np.repeat(wanted, 2, axis=0), atol=1e-5)
