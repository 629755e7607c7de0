"""Eight bits: products of UNet and ControlNet are sums of int32, near the float ones, and nothing else changes."""

import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.installation import with_extra
from addsr_jax.networks import int8
from addsr_jax.networks.build import apply, build
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.settings import Settings
from tests import tiny

LQ = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
NETWORKS = build(tiny.LEAST)


@pytest.fixture(scope='module')
def model():
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    return pipeline.built(tiny.bundle(tiny.LEAST), mesh, jnp.float32)


def drawn(model, **settings):
    return np.asarray(model.sample(LQ, jax.random.key(3), **settings))


@pytest.mark.parametrize('name', ['unet', 'controlnet'])
def test_every_convolution_and_dense_layer_sums_int32_and_attention_floats(name):
    inputs = NETWORKS._inputs(name)
    params = NETWORKS.initial(name, jax.random.key(0))

    def products(networks):
        """Element types of convolutions and products, in any jaxpr within."""
        found = []

        def look(jaxpr):
            for equation in jaxpr.eqns:
                if equation.primitive.name in int8.LAYERS:
                    found.append(str(equation.outvars[0].aval.dtype))
                for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, 'eqns')):
                    if hasattr(value, 'eqns') or hasattr(value, 'jaxpr'):
                        look(getattr(value, 'jaxpr', value))

        look(jax.make_jaxpr(lambda p: apply(getattr(networks, name), p, *inputs))(params).jaxpr)
        return found

    whole, eight = products(NETWORKS), products(int8.in_int8(NETWORKS))
    kernels = sum(leaf.ndim > 1 for leaf in jax.tree.leaves(params))
    assert set(whole) == {'float32'}
    assert eight.count('int32') == kernels
    assert eight.count('float32') == len(whole) - kernels


@pytest.mark.parametrize(
    'settings', [{'steps': 2}, {'method': 'seesr', 'steps': 2, 'guidance_scale': 2.0}], ids=['student', 'teacher']
)
def test_pictures_differ_a_little(model, settings):
    whole, eight = drawn(model, **settings), drawn(model, **settings, int8=True)
    apart = np.abs(whole - eight)
    assert 0 < apart.mean() < 0.02
    np.testing.assert_array_equal(drawn(model, **settings), whole)  # programs of both stand beside each other


def test_a_picture_in_windows_has_programs_of_its_own(model):
    pieces = {'tile': 0, 'latent_tile': 8, 'latent_overlap': 2, 'encoder_tile': 32, 'decoder_tile': 8}
    picture = (np.random.default_rng(1).uniform(0, 1, (16, 16, 3)) * 255).astype(np.uint8)
    whole, eight = (np.asarray(model.upscale(picture, steps=1, **pieces, int8=on)).astype(int) for on in (False, True))
    assert 0 < np.abs(whole - eight).mean() < 3


def test_without_qwix_it_is_one_line(model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'qwix', None)
    with pytest.raises(UserError, match=f'int8 needs qwix: {re.escape(with_extra("int8"))}'):
        drawn(model, steps=1, int8=True)
    assert not Settings().int8
