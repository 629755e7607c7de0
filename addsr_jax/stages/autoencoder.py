"""Stage `autoencoder`: a KL autoencoder on photographs (Rombach et al. 2022, section 3.1).

loss = |D(z) - h| + perceptual * d(D(z), h) + kl * KL(q(z | h) || N(0, 1)), z ~ q(z | h); d compares the first
stages of the frozen prompt extractor, and LPIPS may be added. No adversarial term: the student has one.

A guided decoder is D(z | l), with l the low-quality picture. It would not look at l, since z tells all of h, but for
`latent_noise`: z gets noise of a deviation that is drawn for each picture.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import to_unit
from addsr_jax.errors import UserError
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.perceptual import GRID, lpips_from
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.specs import ModelSpec
from addsr_jax.stages import base
from addsr_jax.stages.base import Batch, Recipe, Stage, State, Trainable
from addsr_jax.stages.objectives import AutoencoderObjective, TinyDecoderObjective
from addsr_jax.trees import Tree

START_LOG_VARIANCE = -14.0
PATTERNS = {'all': ('.*',), 'decoder': base.DECODER}


def make(recipe: Recipe, objective: AutoencoderObjective) -> Stage:
    spec = recipe.spec
    networks = build(spec, recipe.dtype, recipe.attention)
    swin = spec.prompt_extractor.swin
    if objective.perceptual_stages > len(swin.depths):
        raise UserError(
            f'--config.objective.perceptual_stages {objective.perceptual_stages}: '
            f'the prompt extractor of size {spec.name} has {len(swin.depths)}'
        )
    trains = (Trainable('autoencoder', 'autoencoder', PATTERNS[objective.trainable]),)
    distances = ('lpips',) if objective.lpips_weight else ()

    encode, decode = (
        base.recomputing(partial(apply, networks.autoencoder, method=method), recipe.remat)
        for method in ('encode', 'decode')
    )

    def features(frozen: Tree, images: jax.Array) -> tuple[jax.Array, ...]:
        """First stages of the prompt extractor, each [B, h_i, w_i, C_i], of the upper left of images in [-1, 1]."""
        side, least = swin.image_size, swin.patch * swin.window * 2 ** (objective.perceptual_stages - 1)
        while side > images.shape[1]:  # half as many windows fit as well
            side //= 2
        if side % least:
            raise UserError(
                f'--config.data.hr_size {images.shape[1]} is too small for {objective.perceptual_stages} stages of the '
                f'prompt extractor, which need {least} pixels a side: raise it, or lower '
                '--config.objective.perceptual_stages'
            )
        seen = normalise(to_unit(images[:, :side, :side]))
        stages = partial(apply, networks.prompt_extractor, frozen['prompt_extractor'], method='stages')
        return stages(seen, objective.perceptual_stages)

    def loss(trained: Tree, frozen: Tree, samples: Tree) -> tuple[jax.Array, base.Metrics]:
        (hr, lq), draws = (samples['batch'][name] for name in ('hr', 'lq')), samples['draws']
        params = base.assemble(trained, frozen, trains)['autoencoder']
        mean, std = encode(params, hr)
        latents = mean + std * draws['posterior']
        if objective.latent_noise:
            deviation = objective.latent_noise / spec.autoencoder.scaling_factor * draws['deviation']
            latents = latents + deviation[:, None, None, None] * draws['noise']
        x = decode(params, latents, lq).astype(jnp.float32)
        l1 = _mean(jnp.abs(x - hr))
        kl = _mean(0.5 * (mean**2 + std**2 - 1) - jnp.log(std))
        pairs = zip(features(frozen, x), features(frozen, hr), strict=True)
        perceptual = sum(_mean(jnp.abs(a - b)) for a, b in pairs)
        total = l1 + objective.perceptual * perceptual + objective.kl * kl
        mse = jnp.mean((x - hr) ** 2) / 4
        metrics = {
            'l1': l1.mean(),
            'perceptual': jnp.mean(perceptual),
            'kl': kl.mean(),
            'psnr': -10 * jnp.log10(mse),
        }
        term, told = likeness(recipe, objective.lpips_weight, frozen, draws, x, hr)
        return total + term, {**metrics, **told}

    def init(key: jax.Array, bundle: Tree) -> State:
        begun = begin(key, bundle)
        return base.simple_state({t.part: t.begin(key, begun) for t in trains}, recipe.optimizers.params)

    def begin(key: jax.Array, bundle: Tree) -> Tree:
        if 'autoencoder' in bundle or objective.trainable != 'all':
            return base.pick(bundle, ('autoencoder',), 'autoencoder')['autoencoder']
        return narrow(networks.initial('autoencoder', key))

    def kept(bundle: Tree) -> Tree:
        """What stays of the autoencoder, where not all of it is trained."""
        return {t.part: t.rest(bundle[t.part]) for t in trains if objective.trainable != 'all'}

    def freeze(bundle: Tree) -> Tree:
        own = () if objective.trainable == 'all' else ('autoencoder',)
        parts = base.pick(bundle, ('prompt_extractor', *distances, *own), 'autoencoder')
        return trees.cast({**parts, **kept(bundle)}, recipe.dtype)

    def preview(state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        params = base.assemble(state.ema, frozen, trains)['autoencoder']
        mean, _ = apply(networks.autoencoder, params, batch['hr'], method='encode')
        x = apply(networks.autoencoder, params, mean, batch['lq'], method='decode')
        return {'reconstruction': jnp.clip(x.astype(jnp.float32), -1, 1), 'HR': batch['hr']}

    def spec_update(state: State, frozen: Tree, make_batch: Callable[[], Batch]) -> ModelSpec:
        """Latents of unit variance: the scaling factor is measured, as Rombach et al. 2022 (section G) do."""
        if objective.trainable != 'all':
            return spec
        mean, _ = apply(networks.autoencoder, state.ema['autoencoder'], make_batch()['hr'], method='encode')
        scale = round(float(1 / jnp.std(mean)), 5)
        return dataclasses.replace(spec, autoencoder=dataclasses.replace(spec.autoencoder, scaling_factor=scale))

    return Stage(
        name='autoencoder',
        init=init,
        freeze=freeze,
        update=base.simple_update(loss, partial(draw, spec, objective), recipe),
        preview=preview,
        scored='reconstruction',
        export=lambda state, bundle: base.assemble(state.ema, kept(bundle), trains),
        spec_update=spec_update,
        distances=distances,
    )


def likeness(
    recipe: Recipe, weight: float, frozen: Tree, draws: Tree, x: jax.Array, wanted: jax.Array
) -> tuple[jax.Array, base.Metrics]:
    """LPIPS (VGG16) of x and `wanted` times its weight, [B], from corners of chance; nothing where that is 0."""
    if not weight:
        return jnp.zeros(()), {}
    distance = lpips_from('vgg', frozen['lpips'], x.astype(recipe.dtype), wanted.astype(recipe.dtype), draws['corners'])
    return weight * distance, {'lpips': distance.mean()}


def draw(spec: ModelSpec, objective: AutoencoderObjective | TinyDecoderObjective, key: jax.Array, batch: Batch) -> Tree:
    """All chance of one step: of the latents, of the noise on them, and of where LPIPS begins to look."""
    b, h, w, _ = batch['hr'].shape
    shape = (h // spec.autoencoder.factor, w // spec.autoencoder.factor, spec.autoencoder.latent_channels)
    draws = {'posterior': base.per_sample(key, 'noise', b, lambda k: jax.random.normal(k, shape))}
    if objective.lpips_weight:
        draws['corners'] = base.per_sample(key, 'corners', b, lambda k: jax.random.randint(k, (2,), 0, GRID))
    if objective.latent_noise:
        draws['deviation'] = base.per_sample(key, 'deviation', b, jax.random.uniform)
        draws['noise'] = base.per_sample(key, 'latent_noise', b, lambda k: jax.random.normal(k, shape))
    return draws


def narrow(params: Tree) -> Tree:
    """Untrained parameters whose posterior is narrow: with unit noise at the start, reconstruction hardly begins."""
    bias = params['quant_conv']['bias']
    log_variance = jnp.where(jnp.arange(bias.size) < bias.size // 2, 0.0, START_LOG_VARIANCE)
    return {**params, 'quant_conv': {**params['quant_conv'], 'bias': bias + log_variance}}


def _mean(x: jax.Array) -> jax.Array:
    """Mean over all axes but the batch."""
    return x.reshape(x.shape[0], -1).mean(axis=1)
