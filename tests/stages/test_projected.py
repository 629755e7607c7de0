"""What the discriminator sees: DINO's features where a model has them, else the teacher's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax import sizes, trees
from addsr_jax.diffusion.denoiser import Denoiser, to_unit
from addsr_jax.networks.build import build
from addsr_jax.ops.augment import draw_augment
from addsr_jax.stages.projected import make_projection
from addsr_jax.weights import bundle as bundles
from tests import tiny

VIT = dataclasses.replace(sizes.SD2.dino, image_size=16, patch=4, width=8, depth=4, heads=2)
WITH_DINO = dataclasses.replace(
    tiny.SPEC,
    dino=VIT,
    dinov2=dataclasses.replace(VIT, layer_scale=True, mask_token=True, position_offset=0.1),
    discriminator=dataclasses.replace(
        tiny.SPEC.discriminator, feature_channels=(8, 8, 8), hooks=(1, 3), condition_dim=8
    ),
)


def setting(spec, c_norm='imagenet'):
    """(logits of images as a function, images) with random parameters."""
    networks, rng = build(spec), np.random.default_rng(0)
    frozen = dict(tiny.on_device(tiny.bundle().params))
    for part in ('dino', 'dinov2'):
        if getattr(spec, part) is not None:
            shapes = trees.flatten(bundles.expected(spec, [part])[part])
            frozen[part] = trees.unflatten({p: jnp.asarray(rng.normal(0, 0.3, s.shape)) for p, s in shapes.items()})
    batch = tiny.batch(0, 3)
    model = Denoiser(networks)
    text = model.embed_text(frozen, batch['tokens'])
    told = model.condition(frozen, to_unit(batch['lq']), text)
    projection = make_projection(networks, c_norm)
    heads = projection.init(jax.random.key(0))
    draws = draw_augment(jax.random.key(1), 3, tiny.SIDE)
    seen = (frozen, told, projection.embed(frozen, told))
    return (
        lambda x: projection.logits(heads['params'], heads['spectral'], projection.features(x, draws, *seen)),
        batch['hr'],
        projection,
    )


@pytest.mark.parametrize(('spec', 'tokens'), [(tiny.SPEC, 16 + 4), (WITH_DINO, 3 * 16)], ids=['teacher', 'dino'])
def test_every_token_of_every_feature_map_is_judged_and_the_gradient_reaches_the_image(spec, tokens):
    logits, images, _ = setting(spec)
    judged, pullback = jax.vjp(jax.jit(logits), images)
    assert judged.shape == (3, tokens)
    (gradient,) = pullback(jnp.ones_like(judged))
    assert bool(jnp.isfinite(gradient).all())
    assert float(jnp.abs(gradient).max()) > 0


def test_a_model_with_dino_names_it_among_its_frozen_parts():
    assert setting(WITH_DINO)[2].parts == ('dino', 'dinov2')
    assert setting(tiny.SPEC)[2].parts == ()


def test_the_normalisation_of_the_condition_has_an_effect():
    (a, images, _), (b, _, _) = setting(WITH_DINO), setting(WITH_DINO, 'none')
    assert float(jnp.abs(a(images) - b(images)).max()) > 1e-4
