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
from addsr_jax.networks.discriminator import readout
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.networks.unet import DownPath
from addsr_jax.networks.vit import ViT
from addsr_jax.ops.augment import AugmentDraws, diff_augment, to_feature_size
from addsr_jax.ops.image import resize
from addsr_jax.trees import Tree

Features = tuple[tuple[jax.Array, ...], jax.Array]  # of each hook [B, T, C], and the condition [B, E]


@dataclass(frozen=True)
class Projection:
    """`features` of images, then `logits` of them: the heads' parameters and norm vectors -> [B, N].

    `embed` looks at the LQ image alone: one pass serves all pictures that are judged.
    """

    networks: Networks
    parts: tuple[str, ...]  # frozen parts beside those that every student needs
    extract: Callable[[Tree, jax.Array, Conditioning], tuple[jax.Array, ...]]
    embed: Callable[[Tree, Conditioning], jax.Array]

    def features(
        self, images: jax.Array, draws: AugmentDraws, frozen: Tree, lq: Conditioning, embedding: jax.Array
    ) -> Features:
        """Features of augmented images [B, H, W, 3] in [-1, 1], beside what `embed` says of the LQ image."""
        images = to_unit(diff_augment(images, draws))
        images = to_feature_size(images, draws, self.networks.spec.discriminator.image_size)
        return self.extract(frozen, images, lq), embedding

    def logits(self, params: Tree, spectral: Tree, features: Features) -> jax.Array:
        return cast(jax.Array, self.networks.heads.apply({'params': params, 'spectral': spectral}, *features))

    def init(self, key: jax.Array) -> Tree:
        """{'params', 'spectral'} of the heads."""
        return self.networks.initial('heads', key)


def gradient_penalty(logits: Callable[[Features], jax.Array], features: Features) -> jax.Array:
    """R1 (Mescheder et al. 2018), [B]: squared length of the gradient of a head's summed logits in its features.

    The mean over the heads, as the published code has it; plain ADD's formula sums.
    """
    maps, condition = features
    gradients = jax.grad(lambda f: logits((f, condition)).sum())(maps)  # no head sees another's features
    squares = [(g**2).sum(axis=tuple(range(1, g.ndim))) for g in gradients]
    return jnp.mean(jnp.stack(squares), axis=0)


def make_projection(networks: Networks, c_norm: str) -> Projection:
    """`c_norm`: 'imagenet', or 'none' as the published code feeds DINOv2."""
    if networks.dino is None or networks.dinov2 is None:
        return _through_teacher(networks)
    return _through_dino(networks, networks.dino, networks.dinov2, c_norm)


def _through_dino(networks: Networks, dino: ViT, dinov2: ViT, c_norm: str) -> Projection:
    hooks, side = networks.spec.discriminator.hooks, dinov2.spec.image_size

    def extract(frozen: Tree, images: jax.Array, lq: Conditioning) -> tuple[jax.Array, ...]:
        hidden, _ = apply(dino, frozen['dino'], normalise(images))
        return readout(hidden, hooks)

    def embed(frozen: Tree, lq: Conditioning) -> jax.Array:
        image = resize(lq.image, (side, side), 'bilinear')
        image = normalise(image) if c_norm == 'imagenet' else image
        _, tokens = apply(dinov2, frozen['dinov2'], image)
        return tokens[:, 0]

    return Projection(networks, ('dino', 'dinov2'), extract, embed)


def _through_teacher(networks: Networks) -> Projection:
    teacher, hooks = Denoiser(networks, 'teacher'), networks.spec.discriminator.hooks
    down_path = DownPath(networks.unet.spec, networks.unet.dtype, networks.unet.kernel)

    def extract(frozen: Tree, images: jax.Array, lq: Conditioning) -> tuple[jax.Array, ...]:
        """Levels of the teacher's down path on clean latents (t = 0), with text and tokens of the LQ image."""
        latents = teacher.encode(frozen, images * 2 - 1, jnp.zeros(()))
        if teacher.takes_condition_latents:  # the picture is its own condition: the LQ image is not augmented with it
            latents = jnp.concatenate([latents, latents], axis=-1)
        t = jnp.zeros(latents.shape[:1], jnp.int32)
        levels = apply(down_path, frozen['teacher']['unet'], latents, t, lq.text, lq.image_tokens)
        return tuple(levels[i].reshape(levels[i].shape[0], -1, levels[i].shape[-1]) for i in hooks)

    def embed(frozen: Tree, lq: Conditioning) -> jax.Array:
        return lq.image_tokens[:, 0]

    return Projection(networks, (), extract, embed)
