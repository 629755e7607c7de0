"""What every network must do at nano size, whatever it computes."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes, trees
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.discriminator import power_iteration
from addsr_jax.networks.prompt_extractor import dape
from addsr_jax.ops.augment import draw_augment, translate
from addsr_jax.weights import bundle as bundles

NANO = sizes.NANO
NETWORKS = build(NANO)
PARTS = ('prompt_extractor', 'autoencoder', 'text_encoder', 'unet', 'controlnet')


def inputs(part):
    latents, t = jnp.ones((2, 16, 16, 8)) * 0.3, jnp.array([3, 999])
    text, tokens = jnp.ones((2, 77, 64)), jnp.ones((2, 17, 64))
    return {
        'prompt_extractor': (jnp.ones((2, 128, 128, 3)) * 0.2,),
        'autoencoder': (jnp.ones((2, 64, 64, 3)) * 0.2,),
        'text_encoder': (jnp.ones((2, 77), jnp.int32),),
        'unet': (latents, t, text, tokens),
        'controlnet': (latents, t, text, tokens, jnp.ones((2, 64, 64, 3)) * 0.5),
    }[part]


@cache
def program(module):
    """(parameters, inputs) -> answer."""
    return jax.jit(partial(apply, module))


@pytest.fixture(scope='module', params=PARTS)
def network(request):
    """(name, function of parameters and inputs, parameters that are nowhere zero)."""
    module = getattr(NETWORKS, request.param)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs(request.param)))['params']
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.05, s.shape), jnp.float32), shapes)
    return request.param, program(module), params


def test_outputs_have_the_promised_shapes_and_are_finite(network):
    name, run, params = network
    out = run(params, *inputs(name))
    shapes = {
        'prompt_extractor': (2, 65, 64),
        'autoencoder': (2, 64, 64, 3),
        'text_encoder': (2, 77, 64),
        'unet': (2, 16, 16, 4),
    }
    if name == 'controlnet':
        down, middle = out
        assert [d.shape[1:] for d in down] == [
            (16, 16, 48),
            (16, 16, 48),
            (8, 8, 48),
            (8, 8, 64),
            (4, 4, 64),
            (4, 4, 96),
        ]
        assert middle.shape == (2, 4, 4, 96)
    else:
        assert out.shape == shapes[name]
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(out))


def test_samples_of_a_batch_do_not_see_each_other(network):
    name, run, params = network
    arrays = inputs(name)
    changed = tuple(x.at[1].multiply(2) if x.dtype == jnp.float32 else x for x in arrays)
    for a, b in zip(jax.tree.leaves(run(params, *arrays)), jax.tree.leaves(run(params, *changed)), strict=True):
        np.testing.assert_allclose(a[0], b[0], atol=1e-5)


def test_every_parameter_has_a_finite_gradient(network):
    name, _, params = network
    module = getattr(NETWORKS, name)
    method = 'tokens_and_logits' if name == 'prompt_extractor' else '__call__'
    if name == 'prompt_extractor':
        image = jnp.zeros((2, 128, 128, 3))
        shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), image, method=method))['params']
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.05, s.shape), jnp.float32), shapes)

    def total(p):
        leaves = jax.tree.leaves(apply(module, p, *inputs(name), method=method))
        return sum((leaf**2).sum() for leaf in leaves)

    grads = trees.flatten(jax.jit(jax.grad(total))(params))
    assert all(bool(jnp.isfinite(g).all()) for g in grads.values())
    silent = [p for p, g in grads.items() if not bool((g != 0).any())]
    # the autoencoder's call decodes the mean: the variance half of the last layers has its gradient from the posterior
    assert not silent, silent


def test_bfloat16_computes_near_float32():
    params = bundles.expected(NANO, ['teacher'])['teacher']['unet']
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(0, 0.05, s.shape), jnp.float32), params)
    wide, narrow = (program(build(NANO, d).unet)(params, *inputs('unet')) for d in (jnp.float32, jnp.bfloat16))
    assert narrow.dtype == jnp.bfloat16
    assert float(jnp.abs(wide - narrow).mean()) < 0.05 * float(jnp.abs(wide).mean())


def test_an_unet_with_image_attentions_wants_image_tokens():
    params = bundles.expected(NANO, ['teacher'])['teacher']['unet']
    latents, t, text, _ = inputs('unet')
    with pytest.raises(ValueError, match='image_encoder_hidden_states'):
        jax.eval_shape(lambda p: apply(NETWORKS.unet, p, latents, t, text, None), params)


def test_low_rank_factors_change_queries_and_values_but_not_keys():
    spec = NANO.prompt_extractor
    shapes = bundles.expected(NANO, ['prompt_extractor'])['prompt_extractor']
    params = jax.tree.map(lambda s: jnp.zeros(s.shape), shapes)
    lora = jax.tree.map(jnp.ones_like, jax.jit(dape(spec).init)(jax.random.key(0), params))
    merged = trees.flatten(dape(spec).merge(params, lora))
    path = next(p for p in merged if p.endswith('attn/qkv/kernel'))
    q, k, v = jnp.split(merged[path], 3, axis=1)
    np.testing.assert_allclose(q, spec.lora_rank * spec.lora_scale, rtol=1e-6)
    np.testing.assert_allclose(v, q)
    assert not k.any()
    assert {p for p, x in merged.items() if x.any()} == {
        p
        for p in merged
        if p.endswith(('attn/qkv/kernel', 'crossattention/self/query/kernel', 'crossattention/self/key/kernel'))
    }


def test_power_iteration_finds_the_largest_singular_value():
    heads = NETWORKS.heads
    features = [jnp.zeros((1, 16, c)) for c in NANO.discriminator.feature_channels]
    variables = jax.jit(heads.init)(jax.random.key(0), features, jnp.zeros((1, 64)))
    vectors, iterate = variables['spectral'], jax.jit(power_iteration)
    for _ in range(200):
        vectors = iterate(variables['params'], vectors)
    weights, vectors = trees.flatten(variables['params']), trees.flatten(vectors)
    for path in [p for p in vectors if p.endswith('weight_u')]:
        layer = path.removesuffix('/weight_u')
        matrix = np.asarray(weights[f'{layer}/weight_orig']).transpose(2, 1, 0)
        matrix = matrix.reshape(matrix.shape[0], -1)
        sigma = vectors[path] @ matrix @ vectors[f'{layer}/weight_v']
        assert float(sigma) == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], rel=1e-2)


def test_augmentation_of_a_sample_does_not_depend_on_its_batch():
    few, many = (draw_augment(jax.random.key(0), b, 32) for b in (2, 5))
    np.testing.assert_array_equal(few.shift, many.shift[:2])
    np.testing.assert_array_equal(few.cutout, many.cutout[:2])


def test_translation_moves_pixels_and_fills_with_zeros():
    image = jnp.arange(1.0, 17).reshape(1, 4, 4, 1)
    out = translate(image, jnp.array([[1, -1]]))[0, :, :, 0]
    np.testing.assert_array_equal(out[:3, 1:], image[0, 1:, :3, 0])
    assert not out[3].any()
    assert not out[:, 0].any()
