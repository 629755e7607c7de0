"""Stages whose networks are a few products: they run in a moment, and references fit into a test.

What a stage does with the answers of its networks (whom it tells what, what it noises and compares, who learns) is the
stage's own code; the discriminator's heads and augmentation are the real ones.
"""

from functools import cache, partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax import trees
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.networks.discriminator import power_iteration
from addsr_jax.stages import addsr, addsr_draws, base, seesr
from addsr_jax.stages.base import Stage, State
from addsr_jax.stages.projected import Projection
from addsr_jax.stages.table import STAGES
from tests import tiny
from tests.stages.common import objective, recipe

FACTOR, CHANNELS = tiny.SPEC.autoencoder.factor, tiny.SPEC.autoencoder.latent_channels
# names as the networks have them, so that the stages' rules of what is trained apply
SHAPES = {
    'unet/conv_in/kernel': (CHANNELS, CHANNELS),
    'unet/conv_in/bias': (CHANNELS,),
    'unet/mid_block/attentions_0/attn1/to_q/kernel': (CHANNELS, CHANNELS),
    'unet/mid_block/image_attentions_0/attn2/to_k/kernel': (3, CHANNELS),
    'controlnet/conv_in/kernel': (CHANNELS, CHANNELS),
    'controlnet/controlnet_cond_embedding/conv_in/kernel': (CHANNELS, CHANNELS),
    'controlnet/mid_block/attentions_0/attn2/to_v/kernel': (1, CHANNELS),
}


def pooled(images: jax.Array) -> jax.Array:
    """Means over cells, the first channel twice: [B, H, W, 3] -> [B, h, w, 4]."""
    b, h, w, c = images.shape
    means = images.reshape(b, h // FACTOR, FACTOR, w // FACTOR, FACTOR, c).mean(axis=(2, 4))
    return jnp.concatenate([means, means[..., :1]], axis=-1)


class ToyDenoiser(Denoiser):
    """The real formulas of `Denoiser` around networks that are products."""

    def posterior(self, params, images):
        return pooled(images), 0.1

    def drawn(self, moments, noise):
        return moments[0] + moments[1] * noise

    def decode(self, params, latents, lq):
        return jnp.clip(jnp.repeat(jnp.repeat(latents[..., :3], FACTOR, axis=1), FACTOR, axis=2), -1, 1)

    def decode_tiny(self, params, latents):
        return self.decode(params, latents, None) / 2

    def embed_text(self, params, tokens):
        return tokens[..., None] / 500 * params['text_encoder']['scale']

    def embed_image(self, params, images, *, clip_view=False):
        return images.mean(axis=(1, 2))[:, None]

    @partial(jax.jit, static_argnums=0)
    def network_output(self, params, latents, timesteps, conditioning, conditioning_scale=1.0):
        p = trees.flatten(params[self.part])
        y = latents @ (p['unet/conv_in/kernel'] + p['unet/mid_block/attentions_0/attn1/to_q/kernel'])
        y += conditioning.latents @ p['controlnet/conv_in/kernel']
        y += pooled(conditioning.image) @ p['controlnet/controlnet_cond_embedding/conv_in/kernel']
        said = conditioning.image_tokens.mean(axis=1) @ p['unet/mid_block/image_attentions_0/attn2/to_k/kernel']
        said += conditioning.text.mean(axis=1) @ p['controlnet/mid_block/attentions_0/attn2/to_v/kernel']
        return jnp.tanh(y + (said + timesteps[:, None] / 1000 * p['unet/conv_in/bias'])[:, None, None])


iterate = jax.jit(power_iteration)


@jax.jit
def cells(images: jax.Array) -> tuple[jax.Array, ...]:
    """Means over 4 x 4 and over 2 x 2 cells: [B, S, S, 3] -> [B, 16, 3] and [B, 4, 3]."""
    b, side = images.shape[0], images.shape[1]
    grids = [images.reshape(b, n, side // n, n, side // n, 3).mean(axis=(2, 4)) for n in (4, 2)]
    return tuple(grid.reshape(b, -1, 3) for grid in grids)


class ToyProjection(Projection):
    """Real augmentation and heads, a program each; their first parameters are random and non-zero."""

    features = jax.jit(Projection.features, static_argnums=0)
    logits = jax.jit(Projection.logits, static_argnums=0)

    def init(self, key):
        rng = np.random.default_rng(6)

        def fill(path, leaf):
            value = rng.standard_normal(leaf.shape).astype(np.float32)
            return value / np.linalg.norm(value) if path.startswith('spectral') else value

        flat = trees.flatten(self.networks.shapes('heads'))
        return tiny.on_device(trees.unflatten({path: fill(path, leaf) for path, leaf in flat.items()}))


@cache
def projection(networks, c_norm: str = 'imagenet') -> Projection:
    """Features are fixed products of pooled pixels."""
    rng, spec = np.random.default_rng(5), networks.spec.discriminator
    maps = [rng.standard_normal((3, channels)).astype(np.float32) for channels in spec.feature_channels]
    to_condition = rng.standard_normal((3, spec.condition_dim)).astype(np.float32)

    def extract(frozen, images, lq):
        return tuple(cell @ m for cell, m in zip(cells(images), maps, strict=True))

    return ToyProjection(networks, (), extract, lambda frozen, lq: lq.image_tokens[:, 0] @ to_condition)


@cache
def bundle():
    """Random parameters of every part that the stages ask for."""

    def denoiser(seed: int):
        rng = np.random.default_rng(seed)
        return trees.unflatten({p: rng.normal(0, 0.5, s).astype(np.float32) for p, s in SHAPES.items()})

    return tiny.on_device(
        {
            'autoencoder': {},
            'prompt_extractor': {},
            'text_encoder': {'scale': np.ones((), np.float32)},
            'teacher': denoiser(1),
            'student': denoiser(2),
        }
    )


@cache
def stage(name: str, accumulate: int = 1, **changes) -> Stage:
    """'addsr' or 'seesr' with the objective of its config, on products; plain descent at 0.1."""
    with (
        mock.patch.object(addsr, 'Denoiser', ToyDenoiser),
        mock.patch.object(addsr, 'make_projection', projection),
        mock.patch.object(seesr, 'Denoiser', ToyDenoiser),
    ):
        return STAGES[name].make(recipe(accumulate), objective(name, **changes))


@cache
def losses(**changes) -> addsr.Losses:
    """Terms of stage `addsr`."""
    with mock.patch.object(addsr, 'Denoiser', ToyDenoiser), mock.patch.object(addsr, 'make_projection', projection):
        return addsr.make_losses(recipe(), objective('addsr', **changes))


@cache
def start(made: Stage) -> State:
    """The first state; of stage `seesr` without its `init`, which asks the real networks for shapes."""
    if made.name == 'addsr':
        return made.init(jax.random.key(0), bundle())
    trained = {name: base.copy(bundle()[name]) for name in ('teacher', 'text_encoder')}
    return base.simple_state(trained, recipe().optimizers.params)


def run(made: Stage, state: State | None = None):
    """(state, metrics) of one step on a batch of four.

    The update is not compiled as a whole: its parts are programs already, which all stages share.
    """
    draw = jax.jit(addsr_draws.draw, static_argnums=(1, 2))
    with mock.patch.object(addsr, 'draw', draw), mock.patch.object(addsr, 'power_iteration', iterate):
        after, metrics = made.update(state or start(made), made.freeze(bundle()), tiny.batch(0, 4))
    return after, {name: float(value) for name, value in metrics.items()}
