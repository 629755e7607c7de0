"""Stage `autoencoder`: a KL autoencoder on photographs (Rombach et al. 2022, section 3.1).

loss = |D(z) - h| + perceptual * d(D(z), h) + kl * KL(q(z | h) || N(0, 1)), z ~ q(z | h); d compares the first
stages of the frozen prompt extractor. No adversarial term: the student has one.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import to_unit
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.specs import ModelSpec
from addsr_jax.stages import base
from addsr_jax.stages.base import Batch, Recipe, Stage, State
from addsr_jax.stages.objectives import AutoencoderObjective
from addsr_jax.trees import Tree

START_LOG_VARIANCE = -14.0


def make(recipe: Recipe, objective: AutoencoderObjective) -> Stage:
    spec = recipe.spec
    networks = build(spec, recipe.dtype)
    factor = spec.autoencoder.factor

    encode, decode = (
        base.recomputing(partial(apply, networks.autoencoder, method=method), recipe.remat)
        for method in ('encode', 'decode')
    )

    def features(frozen: Tree, images: jax.Array) -> tuple[jax.Array, ...]:
        """First stages of the prompt extractor, each [B, h_i, w_i, C_i], of images in [-1, 1]."""
        side = spec.prompt_extractor.swin.image_size
        while side > images.shape[1]:  # half as many windows fit as well
            side //= 2
        seen = normalise(to_unit(images[:, :side, :side]))
        stages = partial(apply, networks.prompt_extractor, frozen['prompt_extractor'], method='stages')
        return stages(seen, objective.perceptual_stages)

    def loss(trained: Tree, frozen: Tree, samples: Tree) -> tuple[jax.Array, base.Metrics]:
        hr, noise = samples['batch']['hr'], samples['draws']
        mean, std = encode(trained['autoencoder'], hr)
        latents = mean + std * noise
        x = decode(trained['autoencoder'], latents).astype(jnp.float32)
        l1 = _mean(jnp.abs(x - hr))
        kl = _mean(0.5 * (mean**2 + std**2 - 1) - jnp.log(std))
        pairs = zip(features(frozen, x), features(frozen, hr), strict=True)
        perceptual = sum(_mean(jnp.abs(a - b)) for a, b in pairs)
        total = l1 + objective.perceptual * perceptual + objective.kl * kl
        mse = jnp.mean((x - hr) ** 2) / 4
        return total, {
            'l1': l1.mean(),
            'perceptual': jnp.mean(perceptual),
            'kl': kl.mean(),
            'psnr': -10 * jnp.log10(mse),
        }

    def draw(key: jax.Array, batch: Batch) -> jax.Array:
        b, h, w, _ = batch['hr'].shape
        shape = (h // factor, w // factor, spec.autoencoder.latent_channels)
        return base.per_sample(key, 'noise', b, lambda k: jax.random.normal(k, shape))

    def init(key: jax.Array, bundle: Tree) -> State:
        if 'autoencoder' in bundle:
            params = base.copy(bundle['autoencoder'])
        else:
            params = narrow(networks.initial('autoencoder', key))
        return base.simple_state({'autoencoder': params}, recipe.optimizers.params)

    def freeze(bundle: Tree) -> Tree:
        return trees.cast(base.pick(bundle, ('prompt_extractor',), 'autoencoder'), recipe.dtype)

    def preview(state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        reconstruction = apply(networks.autoencoder, state.ema['autoencoder'], batch['hr'])
        return {'reconstruction': jnp.clip(reconstruction.astype(jnp.float32), -1, 1), 'HR': batch['hr']}

    def spec_update(state: State, frozen: Tree, batch: Batch) -> ModelSpec:
        """Latents of unit variance: the scaling factor is measured, as Rombach et al. 2022 (section G) do."""
        mean, _ = apply(networks.autoencoder, state.ema['autoencoder'], batch['hr'], method='encode')
        scale = round(float(1 / jnp.std(mean)), 5)
        return dataclasses.replace(spec, autoencoder=dataclasses.replace(spec.autoencoder, scaling_factor=scale))

    return Stage(
        name='autoencoder',
        init=init,
        freeze=freeze,
        update=base.simple_update(loss, draw, recipe),
        preview=preview,
        scored='reconstruction',
        export=lambda state, bundle: state.ema,
        spec_update=spec_update,
    )


def narrow(params: Tree) -> Tree:
    """Untrained parameters whose posterior is narrow: with unit noise at the start, reconstruction hardly begins."""
    bias = params['quant_conv']['bias']
    log_variance = jnp.where(jnp.arange(bias.size) < bias.size // 2, 0.0, START_LOG_VARIANCE)
    return {**params, 'quant_conv': {**params['quant_conv'], 'bias': bias + log_variance}}


def _mean(x: jax.Array) -> jax.Array:
    """Mean over all axes but the batch."""
    return x.reshape(x.shape[0], -1).mean(axis=1)
