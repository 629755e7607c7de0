"""What the discriminator's heads see: frozen features of an augmented image, and a vector of the LQ image.

Two kinds, chosen by the model's spec: DINO's features and DINOv2's class token (AddSR's ADD/models), or, where a model
has neither, the teacher's own down path on the encoded image and the prompt extractor's average token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp

from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, to_unit
from addsr_jax.networks.build import Networks, apply
from addsr_jax.networks.discriminator import AugmentDraws, diff_augment, readout, to_feature_size
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.networks.vit import ViT
from addsr_jax.ops.image import resize
from addsr_jax.trees import Tree

Seen = tuple[tuple[jax.Array, ...], jax.Array]


@dataclass(frozen=True)
class Projection:
    """`look` at images, then `judge` what was seen: the heads' parameters and norm vectors -> logits [B, N]."""

    networks: Networks
    parts: tuple[str, ...]  # frozen parts beside those that every student needs
    features: Callable[[Tree, jax.Array, Conditioning], tuple[jax.Array, ...]]
    condition: Callable[[Tree, Conditioning], jax.Array]

    def look(self, images: jax.Array, draws: AugmentDraws, frozen: Tree, lq: Conditioning) -> Seen:
        """Features [B, T, C] of each hook and the condition [B, E], of images [B, H, W, 3] in [-1, 1]."""
        seen = to_unit(diff_augment(images, draws))
        seen = to_feature_size(seen, draws, self.networks.spec.discriminator.image_size)
        return self.features(frozen, seen, lq), jax.lax.stop_gradient(self.condition(frozen, lq))

    def judge(self, params: Tree, spectral: Tree, seen: Seen) -> jax.Array:
        return cast(jax.Array, self.networks.heads.apply({'params': params, 'spectral': spectral}, *seen))

    def init(self, key: jax.Array) -> Tree:
        """{'params', 'spectral'} of the heads; the number of tokens does not matter to them."""
        spec = self.networks.spec.discriminator
        features = [jnp.zeros((1, 16, channels)) for channels in spec.feature_channels]
        return self.networks.heads.init(key, features, jnp.zeros((1, spec.condition_dim)))


def gradient_penalty(judge: Callable[[Seen], jax.Array], seen: Seen) -> jax.Array:
    """R1 (Mescheder et al. 2018), [B]: squared length of the gradient of a sample's summed logits in its features."""
    features, condition = seen
    gradients = jax.grad(lambda f: judge((f, condition)).sum())(features)
    return sum(((g**2).sum(axis=tuple(range(1, g.ndim))) for g in gradients), jnp.zeros(()))


def make_projection(networks: Networks, c_norm: str) -> Projection:
    """`c_norm`: 'imagenet', or 'none' as the published code feeds DINOv2."""
    if networks.dino is None or networks.dinov2 is None:
        return _through_teacher(networks)
    return _through_dino(networks, networks.dino, networks.dinov2, c_norm)


def _through_dino(networks: Networks, dino: ViT, dinov2: ViT, c_norm: str) -> Projection:
    hooks, side = networks.spec.discriminator.hooks, dinov2.spec.image_size

    def features(frozen: Tree, seen: jax.Array, lq: Conditioning) -> tuple[jax.Array, ...]:
        hidden, _ = apply(dino, frozen['dino'], normalise(seen))
        return readout(hidden, hooks)

    def condition(frozen: Tree, lq: Conditioning) -> jax.Array:
        image = resize(lq.image, (side, side), 'bilinear')
        image = normalise(image) if c_norm == 'imagenet' else image
        _, tokens = apply(dinov2, frozen['dinov2'], image)
        return tokens[:, 0]

    return Projection(networks, ('dino', 'dinov2'), features, condition)


def _through_teacher(networks: Networks) -> Projection:
    model, hooks = Denoiser(networks), networks.spec.discriminator.hooks

    def features(frozen: Tree, seen: jax.Array, lq: Conditioning) -> tuple[jax.Array, ...]:
        """Levels of the teacher's down path on clean latents (t = 0), told the text and tokens of the LQ image."""
        latents = model.encode(frozen, seen * 2 - 1, jnp.zeros(()))
        if model.takes_condition_latents:  # the picture is its own condition: the LQ image is not augmented with it
            latents = jnp.concatenate([latents, latents], axis=-1)
        levels = apply(
            networks.unet,
            frozen['teacher']['unet'],
            latents,
            jnp.zeros(latents.shape[:1], jnp.int32),
            lq.text,
            lq.image_tokens,
            method='down_path',
        )
        return tuple(levels[i].reshape(levels[i].shape[0], -1, levels[i].shape[-1]) for i in hooks)

    def condition(frozen: Tree, lq: Conditioning) -> jax.Array:
        return lq.image_tokens[:, 0]

    return Projection(networks, (), features, condition)
