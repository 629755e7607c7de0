"""The autoencoder tile by tile is the whole one, in memory that does not depend on the picture."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sharding, sizes
from addsr_jax.networks import autoencoder_tiles
from addsr_jax.networks.autoencoder import Autoencoder
from addsr_jax.networks.autoencoder_tiles import Tiles, spans, stretches
from addsr_jax.networks.tile_norms import settle
from addsr_jax.weights.random import random_params

LEVEL = 2 / 255  # of pictures in [-1, 1]
SPEC = dataclasses.replace(
    sizes.SD2.autoencoder, block_out_channels=(8, 16), layers_per_block=1, norm_groups=4, latent_channels=2
)
PLAIN = dataclasses.replace(SPEC, norm_groups=0, mid_attention=False)
INPUTS = {'decode': (30, 45, 2), 'moments': (60, 90, 3)}


def network(spec):
    module = Autoencoder(spec)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))['params']
    return module, jax.tree.map(jnp.asarray, random_params({'autoencoder': shapes}, jnp.float32)['autoencoder'])


def uneven(shape):
    """Parts of other contrast and brightness, as pictures have: statistics differ from tile to tile."""
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    x[:, : shape[0] // 3] *= 0.3
    x[:, :, shape[1] // 2 :] += 0.7
    return np.clip(x, -1, 1)


def tiles_of(module, side=8):
    return Tiles(module, side, sharding.make_mesh('data:1', jax.devices()[:1]))


@pytest.fixture(scope='module')
def normed():
    module, params = network(SPEC)
    return module, params, tiles_of(module)


@pytest.mark.parametrize('method', INPUTS)
def test_norms_and_attention_see_the_whole_picture(normed, method, monkeypatch):
    module, params, tiles = normed
    monkeypatch.setattr(autoencoder_tiles, 'TOKENS', 500)  # several blocks, the last of them not full
    x = uneven(INPUTS[method])
    whole = jax.jit(partial(module.apply, method=method))({'params': params}, x)
    found = getattr(tiles, method)(params, x)
    assert found.dtype == np.float32
    scale = 1 / np.abs(whole).max()  # a trained network's pictures lie in [-1, 1]
    assert scale * np.abs(found - whole).max() < LEVEL / 2


@pytest.mark.parametrize('method', INPUTS)
def test_a_tile_sees_all_that_its_result_depends_on(method):
    module, params = network(PLAIN)
    x = uneven(INPUTS[method])
    whole = jax.jit(partial(module.apply, method=method))({'params': params}, x)
    np.testing.assert_allclose(getattr(tiles_of(module), method)(params, x), whole, atol=1e-5)


def test_a_tile_sees_no_more_than_it_has_to():
    reaches = {method: [s.reach for s in stretches(sizes.SD2.autoencoder, method)] for method in INPUTS}
    assert reaches == {'decode': [3, 8, 7], 'moments': [6, 6, 3]}


def test_programs_and_their_memory_do_not_depend_on_the_picture(normed):
    _, params, tiles = normed
    needed = tiles.needs('decode', params, 1, 100, 200)
    programs = len(tiles.programs)
    assert {tiles.needs('decode', params, 1, *size) for size in ((400, 300), (4000, 5000))} == {needed}
    assert len(tiles.programs) == programs
    assert tiles.held(1, 80, 40) == 2 * tiles.held(1, 40, 40), 'between stretches, in the memory of the machine'


@pytest.mark.parametrize('method', INPUTS)
@pytest.mark.parametrize('widths', [(8, 16), (16, 8), (8, 16, 4)])
def test_what_a_tile_needs_is_known_of_the_programs_that_run_whatever_the_widths_of_the_levels(method, widths):
    module, params = network(dataclasses.replace(SPEC, block_out_channels=widths))
    tiles, x = tiles_of(module, side=4), uneven((40, 56, INPUTS[method][-1]))
    scale = 2 ** (len(widths) - 1) if method == 'moments' else 1
    assert tiles.needs(method, params, 1, 40 // scale, 56 // scale) > 0
    stretched = {key for key in tiles.programs if method in key}
    whole = jax.jit(partial(module.apply, method=method))({'params': params}, x)
    found = getattr(tiles, method)(params, x)
    assert {key for key in tiles.programs if method in key} == stretched, 'none was compiled anew'
    assert np.abs(found - whole).max() / np.abs(whole).max() < LEVEL


def test_batches_keep_statistics_of_their_own(normed):
    module, params, tiles = normed
    one = uneven(INPUTS['decode'])
    both = np.concatenate([one, 0.1 * one[:, ::-1]])
    found = tiles.decode(params, both)
    np.testing.assert_allclose(found[:1], tiles.decode(params, one), atol=LEVEL)
    whole = jax.jit(partial(module.apply, method='decode'))({'params': params}, both[1:])
    assert np.abs(found[1:] - whole).max() / np.abs(whole).max() < LEVEL


@pytest.mark.parametrize(('side', 'reach'), [(8, 0), (8, 3), (5, 11), (64, 7)])
def test_tiles_give_every_place_once_and_see_around_it(side, reach):
    for length in (1, 8, 31, 64, 97, 400):
        found = spans(length, side, reach)
        assert [i for span in found for i in range(*span.gives)] == list(range(length))
        assert len({span.sees[1] - span.sees[0] for span in found}) == 1, 'one shape is one program'
        for (first, end), (start, stop) in ((span.sees, span.gives) for span in found):
            assert 0 <= first <= max(start - reach, 0)
            assert min(stop + reach, length) <= end <= length
        assert all(a.sees[1] > b.sees[0] - 1 for a, b in itertools.pairwise(found))


def chain(rate):
    """Two tiles of three norms; what the second and third find follows from what the one before used."""

    def gathered(number, used, own):
        found, before = {}, 0.0
        for name in 'abc':
            mean = np.full((1, 1), 1.0 + number + rate * before)
            found[name] = np.stack([mean, np.ones((1, 1))]).astype(np.float32)
            before = (found if own else used)[name][0] - number
        return 1, found

    return gathered


@pytest.mark.parametrize(('rate', 'passes'), [(0.0, 1), (0.9, 4)])
def test_tiles_run_until_statistics_agree_and_no_more_often_than_there_are_norms_and_once(rate, passes):
    norms = {name: np.zeros((2, 1, 1), np.float32) for name in 'abc'}
    assert settle(norms, 2, chain(rate)) <= passes
