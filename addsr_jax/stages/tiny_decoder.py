"""Stage `tiny_decoder`: a small decoder learns what the autoencoder's own makes of the same latents (as TAESD does).

loss = |T(z) - D(z)| + lpips_weight * LPIPS(T(z), D(z)), z = scaling_factor * sample of q(z | h). With `latent_noise`
the latents get noise of a deviation that is drawn for each picture, as a student's are not quite the encoder's.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.errors import UserError
from addsr_jax.networks.build import apply, build
from addsr_jax.specs import ModelSpec, TinyDecoderSpec
from addsr_jax.stages import base
from addsr_jax.stages.autoencoder import draw, likeness
from addsr_jax.stages.base import Batch, Recipe, Stage, State, Trainable
from addsr_jax.stages.objectives import TinyDecoderObjective
from addsr_jax.trees import Tree

TRAINS = (Trainable('tiny_decoder', 'tiny_decoder'),)


def make(recipe: Recipe, objective: TinyDecoderObjective) -> Stage:
    spec = with_decoder(recipe.spec, objective)
    networks = build(spec, recipe.dtype, recipe.attention)
    assert networks.tiny_decoder is not None  # with_decoder
    model, tiny = Denoiser(networks), base.recomputing(partial(apply, networks.tiny_decoder), recipe.remat)
    distances = ('lpips',) if objective.lpips_weight else ()

    def loss(trained: Tree, frozen: Tree, samples: Tree) -> tuple[jax.Array, base.Metrics]:
        (hr, lq), draws = (samples['batch'][name] for name in ('hr', 'lq')), samples['draws']
        latents = model.encode(frozen, hr, draws['posterior'])
        if objective.latent_noise:
            deviation = objective.latent_noise * draws['deviation']
            latents = latents + deviation[:, None, None, None] * draws['noise']
        wanted = jax.lax.stop_gradient(model.decode(frozen, latents, lq))
        x = tiny(trained['tiny_decoder'], latents).astype(jnp.float32)  # not clipped: what is too bright learns
        total = jnp.abs(x - wanted).mean(axis=(1, 2, 3))
        metrics = {'l1': total.mean(), 'psnr': -10 * jnp.log10(jnp.mean((x - wanted) ** 2) / 4)}
        term, told = likeness(recipe, objective.lpips_weight, frozen, draws, x, wanted)
        return total + term, {**metrics, **told}

    def init(key: jax.Array, bundle: Tree) -> State:
        begun = begin(recipe.spec, spec, bundle) or networks.initial('tiny_decoder', key)
        return base.simple_state({t.part: t.begin(key, begun) for t in TRAINS}, recipe.optimizers.params)

    def freeze(bundle: Tree) -> Tree:
        return trees.cast(base.pick(bundle, ('autoencoder', *distances), 'tiny_decoder'), recipe.dtype)

    def preview(state: State, frozen: Tree, batch: Batch) -> dict[str, jax.Array]:
        latents = model.encode(frozen, batch['hr'], jnp.zeros(()))
        both = {'tiny_decoder': model.decode_tiny(state.ema, latents)}
        return {**both, 'decoder': model.decode(frozen, latents, batch['lq']), 'HR': batch['hr']}

    return Stage(
        name='tiny_decoder',
        init=init,
        freeze=freeze,
        update=base.simple_update(loss, partial(draw, spec, objective), recipe),
        preview=preview,
        scored='tiny_decoder',
        export=lambda state, bundle: state.ema,
        spec_update=lambda state, frozen, make_batch: spec,
        distances=distances,
    )


def with_decoder(spec: ModelSpec, objective: TinyDecoderObjective) -> ModelSpec:
    """The spec with the small decoder that is asked for; a UserError where its pictures would have another size."""
    decoder = TinyDecoderSpec(channels=objective.channels, blocks=objective.blocks)
    return dataclasses.replace(spec, tiny_decoder=decoder)


def begin(held: ModelSpec, asked: ModelSpec, bundle: Tree) -> Tree | None:
    """The small decoder that the weights hold, if they do; a UserError where it is not the one that is asked for."""
    own = held.tiny_decoder
    if 'tiny_decoder' in bundle and own is not None and own != asked.tiny_decoder:
        raise UserError(
            f'--config.weights holds a tiny decoder of {own.channels} channels and blocks {own.blocks}: set '
            '--config.objective.channels and --config.objective.blocks to those, and it learns on'
        )
    return bundle.get('tiny_decoder')
