"""LPIPS: a distance of pictures that is zero for equal ones, sees structure, and can be learned from."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import runtime, sharding
from addsr_jax.networks import perceptual

RNG = np.random.default_rng(0)


def random_params(trunk):
    """Parameters of the true shapes, of unit gain."""
    if trunk == 'vgg':
        widths = [
            c for c, depth in zip(perceptual.VGG_CHANNELS, perceptual.VGG_BLOCKS, strict=True) for _ in range(depth)
        ]
        sides, heads = [3] * 13, perceptual.VGG_CHANNELS
    else:
        widths, sides, heads = [64, 192, 384, 256, 256], [11, 5, 3, 3, 3], (64, 192, 384, 256, 256)
    layers, before = {}, 3
    for i, (width, side) in enumerate(zip(widths, sides, strict=True)):
        kernel = RNG.normal(0, (2 / (side * side * before)) ** 0.5, (side, side, before, width))
        layers[f'Conv_{i}'] = {'kernel': np.float32(kernel), 'bias': np.zeros(width, np.float32)}
        before = width
    return {'trunk': layers, 'heads': [np.float32(RNG.uniform(0, 1, c) / c) for c in heads]}


PARAMS = {trunk: random_params(trunk) for trunk in perceptual.TRUNKS}
DISTANCE = {trunk: jax.jit(lambda p, a, b, t=trunk: perceptual.lpips(t, p, a, b)) for trunk in perceptual.TRUNKS}


@pytest.mark.parametrize('trunk', perceptual.TRUNKS)
def test_distance_is_zero_for_equal_pictures_symmetric_and_grows_with_noise(trunk):
    a = RNG.uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    noise = RNG.normal(0, 1, a.shape).astype(np.float32)
    at = [DISTANCE[trunk](PARAMS[trunk], a, a + strength * noise) for strength in (0.0, 0.1, 0.5)]
    np.testing.assert_array_equal(at[0], 0)
    assert (at[0] < at[1]).all()
    assert (at[1] < at[2]).all()
    np.testing.assert_allclose(DISTANCE[trunk](PARAMS[trunk], a + 0.1 * noise, a), at[1], rtol=1e-4)


def test_one_layer_is_the_closed_form():
    """Features of one convolution whose kernel is the identity: cosines of pixels, weighted by the heads."""
    a, b = (RNG.uniform(0.2, 1, (1, 32, 32, 3)).astype(np.float32) for _ in range(2))
    params = jax.tree.map(np.zeros_like, PARAMS['vgg'])
    for layer in ('Conv_0', 'Conv_1'):
        params['trunk'][layer]['kernel'][1, 1, :3, :3] = np.eye(3)
    params['heads'][0][:3] = (1.0, 2.0, 3.0)
    x, y = ((image - perceptual.SHIFT) / perceptual.SCALE for image in (a, b))
    x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
    wanted = ((x - y) ** 2 @ np.float32([1, 2, 3])).mean()
    np.testing.assert_allclose(DISTANCE['vgg'](params, a, b), [wanted], rtol=1e-5)


def test_gradient_is_finite_where_features_are_all_zero():
    dead = jax.tree.map(np.zeros_like, PARAMS['vgg'])
    picture = jnp.zeros((1, 32, 32, 3))
    for params in (dead, PARAMS['vgg']):
        gradient = jax.grad(lambda x, p=params: DISTANCE['vgg'](p, x, picture).sum())(picture)
        assert np.isfinite(gradient).all()


def test_bfloat16_pictures_give_nearly_the_distance_of_float32():
    a, b = (jnp.asarray(RNG.uniform(-1, 1, (1, 64, 64, 3)), jnp.float32) for _ in range(2))
    exact = DISTANCE['vgg'](PARAMS['vgg'], a, b)
    options = runtime.compiler_options(sharding.make_mesh('data:-1'))  # as of a train step
    compiled = jax.jit(partial(perceptual.lpips, 'vgg'), compiler_options=options)
    half = compiled(PARAMS['vgg'], a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, rtol=0.02)


def dists_params(**weights):
    """VGG16 with random layers, and no weight but those named: {'alpha' or 'beta': of the first channels}."""
    vectors = {name: np.zeros(1475, np.float32) for name in ('alpha', 'beta')}
    for name, first in weights.items():
        vectors[name][: len(first)] = first
    return {'trunk': PARAMS['vgg']['trunk'], **vectors}


DISTS = jax.jit(perceptual.dists)


def test_dists_is_zero_for_equal_pictures_symmetric_and_grows_with_noise():
    params = dists_params(alpha=np.ones(1475), beta=np.ones(1475))
    a = RNG.uniform(0, 1, (2, 64, 64, 3)).astype(np.float32)
    noise = RNG.normal(0, 1, a.shape).astype(np.float32)
    at = [DISTS(params, a, a + strength * noise) for strength in (0.0, 0.05, 0.3)]
    np.testing.assert_allclose(at[0], 0, atol=1e-5)
    assert (at[0] < at[1]).all()
    assert (at[1] < at[2]).all()
    np.testing.assert_allclose(DISTS(params, a + np.float32(0.3) * noise, a), at[2], rtol=1e-4)


def test_dists_of_the_picture_itself_is_the_closed_form():
    """With weight on the three colours alone: their means by alpha, their correlation by beta."""
    a, b = (RNG.uniform(0, 1, (1, 64, 64, 3)).astype(np.float32) for _ in range(2))
    x, y = a[0, ..., 0].astype(np.float64), b[0, ..., 0].astype(np.float64)
    means = (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    structure = (2 * covariance + 1e-6) / (x.var() + y.var() + 1e-6)
    np.testing.assert_allclose(DISTS(dists_params(alpha=[1.0]), a, b), [1 - means], rtol=1e-3)
    np.testing.assert_allclose(DISTS(dists_params(beta=[1.0]), a, b), [1 - structure], rtol=1e-4)
    mixed = 1 - (means + 3 * structure) / 4
    np.testing.assert_allclose(DISTS(dists_params(alpha=[1.0], beta=[3.0]), a, b), [mixed], rtol=1e-4)


def test_pooling_of_dists_keeps_a_constant_inside():
    pooled = perceptual.blurred_halve(jnp.full((1, 8, 8, 2), 0.7))
    assert pooled.shape == (1, 4, 4, 2)
    np.testing.assert_allclose(pooled[0, 1:, 1:], 0.7, rtol=1e-6)
