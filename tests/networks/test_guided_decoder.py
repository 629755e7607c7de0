"""A decoder that sees the low-quality picture beside the latents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sharding, trees
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.networks import autoencoder_tiles
from addsr_jax.networks.build import apply, build
from addsr_jax.weights import layout
from tests import tiny

SPEC = dataclasses.replace(tiny.SPEC, autoencoder=dataclasses.replace(tiny.SPEC.autoencoder, guided_blocks=2))
NETWORKS = build(SPEC)
Z = np.random.default_rng(0).standard_normal((2, 12, 9, 4)).astype(np.float32)
PICTURE = np.random.default_rng(1).uniform(-1, 1, (2, 48, 36, 3)).astype(np.float32)


@pytest.fixture(scope='module')
def untrained():
    return NETWORKS.initial('autoencoder', jax.random.key(0))


@pytest.fixture(scope='module')
def params(untrained):
    """As trained: what begins at zero is something."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda x: x + 0.05 * rng.standard_normal(x.shape).astype(np.float32), untrained)


@jax.jit
def decode(params, z, picture):
    return apply(NETWORKS.autoencoder, params, z, picture, method='decode')


def test_untrained_it_is_the_picture_itself(untrained):
    np.testing.assert_array_equal(decode(untrained, Z, PICTURE), PICTURE)


def test_it_looks_at_latents_and_picture_and_at_no_other_sample(params):
    before = decode(params, Z, PICTURE)
    for changed in (decode(params, -Z, PICTURE), decode(params, Z, -PICTURE) + 2 * PICTURE):
        assert float(jnp.abs(changed - before).mean()) > 1e-3
    other = decode(params, np.stack([Z[0], 2 * Z[1]]), PICTURE)
    np.testing.assert_allclose(other[0], before[0], atol=1e-5)


def test_a_pixel_stays_at_its_place(params):
    """The residual of a picture moved by four pixels, one latent, is the residual moved, away from the borders."""
    rng = np.random.default_rng(3)
    z = rng.standard_normal((1, 20, 9, 4)).astype(np.float32)
    picture = rng.uniform(-1, 1, (1, 80, 36, 3)).astype(np.float32)
    residual = decode(params, z, picture) - picture
    moved = np.roll(picture, 4, axis=1)
    seen = decode(params, np.roll(z, 1, axis=1), moved) - moved
    far = np.s_[:, 32:52]  # seven latents from the borders of both
    np.testing.assert_allclose(seen[far], np.roll(residual, 4, axis=1)[far], atol=1e-4)
    assert float(jnp.abs(residual[far]).mean()) > 1e-3


def test_tiles_and_whole_agree_where_tiles_see_enough(params):
    z = np.random.default_rng(3).standard_normal((1, 72, 40, 4)).astype(np.float32)
    picture = np.random.default_rng(4).uniform(-1, 1, (1, 288, 160, 3)).astype(np.float32)
    tiles = autoencoder_tiles.Tiles(NETWORKS.autoencoder, 16, sharding.make_mesh('data:1', jax.devices()[:1]))
    np.testing.assert_allclose(tiles.decode(params, z, picture), decode(params, z, picture), atol=1e-4)


def test_the_denoiser_hands_the_picture_on_and_clips(params):
    scale = SPEC.autoencoder.scaling_factor
    seen = jax.jit(Denoiser(NETWORKS).decode)({'autoencoder': params}, Z * scale, 2 * PICTURE)
    np.testing.assert_allclose(seen, np.clip(decode(params, Z, 2 * PICTURE), -1, 1), atol=1e-5)


def test_weights_go_to_pytorch_s_layout_and_back(params):
    found, _, _ = layout.from_tensors(layout.to_state_dict('autoencoder', params).items(), 'autoencoder')
    for path, leaf in trees.flatten(params).items():
        np.testing.assert_array_equal(trees.flatten(found)[path], leaf)


def test_few_channels_have_the_size_of_the_picture(params):
    """Blocks run over latents, channels halve with each doubling: what makes it cheap."""
    text = jax.jit(decode).lower(params, Z, PICTURE).as_text()
    outputs = [line.rsplit('->', 1)[1] for line in text.splitlines() if 'stablehlo.convolution' in line]
    sizes = [next(size for size in ('12x9x', '24x18x', '48x36x') if f'tensor<2x{size}' in out) for out in outputs]
    assert sizes == ['12x9x'] * (1 + 1 + 2 * 2 + 1) + ['24x18x', '48x36x']


def test_no_pixel_of_a_latent_is_blind_to_the_next_latent(params):
    """The last convolutions run over pixels: a step between two latents reaches both sides of their border."""
    z = np.zeros((1, 20, 9, 4), np.float32)
    z[:, 10:] = 1
    flat = np.zeros((1, 80, 36, 3), np.float32)
    residual = decode(params, z, flat)[0, :, 18]
    steps = np.abs(np.diff(residual, axis=0)).max(axis=1)
    assert (steps[36:43] > 0).all()
