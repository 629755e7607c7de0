"""What a prompt extractor that learns leaves out, by chance."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.networks.prompt_extractor import AddAndNorm, PromptExtractor
from addsr_jax.networks.swin import Block
from tests import tiny

SPEC = tiny.SPEC.prompt_extractor


def test_a_branch_is_left_out_as_often_as_asked_and_larger_where_it_stays():
    size = SPEC.swin.image_size // SPEC.swin.patch
    x = jax.random.normal(jax.random.key(0), (1, size, size, SPEC.swin.width))
    block = Block(SPEC.swin, 0, False, drop_path=0.25)
    params = block.init({'params': jax.random.key(1), 'dropout': jax.random.key(2)}, x)
    plain = block.clone(drop_path=0.0).apply(params, x)
    many = jax.jit(jax.vmap(lambda key: block.apply(params, x, rngs={'dropout': key})))
    out = np.asarray(many(jax.random.split(jax.random.key(3), 400)))
    nothing = np.isclose(out, np.asarray(x), atol=1e-6).all(axis=(1, 2, 3, 4))
    assert nothing.mean() == pytest.approx(0.25**2, abs=0.04)  # both branches
    kinds = {tuple(np.round(o.ravel()[:8], 4)) for o in out}
    assert len(kinds) == 4  # a sample's branch stays whole or goes whole
    assert not any(np.allclose(o, plain, atol=1e-4) for o in out)


def test_the_first_block_is_never_left_out_and_the_last_as_often_as_asked():
    rates = {}

    def watch(next_function, args, kwargs, context):
        if isinstance(context.module, Block) and context.method_name == '__call__':
            rates[context.module.path] = context.module.drop_path
        return next_function(*args, **kwargs)

    module = PromptExtractor(SPEC, dropout=0.2)
    images = jnp.zeros((1, SPEC.swin.image_size, SPEC.swin.image_size, 3))
    with nn.intercept_methods(watch):
        jax.eval_shape(module.init, {'params': jax.random.key(0), 'dropout': jax.random.key(1)}, images)
    ordered = [rates[path] for path in rates]
    np.testing.assert_allclose(ordered, np.linspace(0, 0.2, len(ordered)))


def test_the_heads_dropout_zeroes_its_share_of_what_is_added():
    spec = SPEC.tagging
    module = AddAndNorm(spec, dropout=0.5)
    x, residual = jnp.ones((1, 64, spec.width)), jnp.zeros((1, 64, spec.width))
    params = module.init({'params': jax.random.key(0), 'dropout': jax.random.key(1)}, x, residual)
    keys = {'dropout': jax.random.key(2)}
    _, caught = module.apply(params, x, residual, rngs=keys, capture_intermediates=True, mutable=['intermediates'])
    added = np.asarray(caught['intermediates']['Dropout_0']['__call__'][0])
    assert (added == 0).mean() == pytest.approx(0.5, abs=0.05)
