"""The denoiser F(z, t; conditioning) that samplers and losses see, and what it is conditioned on.

No sampler, loss or stage asks whether a network predicts noise or velocity.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from addsr_jax.diffusion import schedule
from addsr_jax.diffusion.windows import WHOLE, Windows, cut, over_windows
from addsr_jax.networks.autoencoder import posterior
from addsr_jax.networks.build import Networks, apply
from addsr_jax.networks.prompt_extractor import preprocess
from addsr_jax.trees import Tree


@struct.dataclass
class Conditioning:
    """Condition image, its tokens, and the prompt: what a denoiser is conditioned on."""

    image: jax.Array  # [B, H, W, 3] in [0, 1], the ControlNet's condition
    image_tokens: jax.Array  # [B, 1 + n, I], the prompt extractor's view of `image`
    text: jax.Array  # [B, 77, T]
    latents: jax.Array | None  # [B, h, w, C] of `image`, for networks that take them beside z_t; else None


def to_unit(images: jax.Array) -> jax.Array:
    """[-1, 1] to [0, 1]."""
    return images / 2 + 0.5


@dataclass(frozen=True)
class Denoiser:
    """Networks and schedule of one model as functions of their parameters {part: tree}; F is that of `part`.

    Large pictures go through `windows`.
    """

    networks: Networks
    part: str = 'student'  # whose UNet and ControlNet: 'student' or 'teacher'
    windows: Windows = WHOLE

    @property
    def abar(self):
        return schedule.alphas_cumprod(self.networks.spec.schedule)

    @property
    def takes_condition_latents(self) -> bool:
        spec = self.networks.spec
        return spec.unet.in_channels > spec.autoencoder.latent_channels

    def scan(self, step: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
        """`jax.lax.scan` over the steps of a sampler."""
        return jax.lax.scan(step, carry, xs)

    def add_noise(self, z0: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
        return schedule.add_noise(self.abar, z0, noise, timesteps)

    def network_output(
        self,
        params: Tree,
        latents: jax.Array,
        timesteps: jax.Array,
        conditioning: Conditioning,
        conditioning_scale: float | jax.Array = 1.0,
    ) -> jax.Array:
        """Raw UNet + ControlNet answer at z_t, [B, h, w, C] float32; params[part] = {'unet', 'controlnet'}."""
        text, tokens = conditioning.text, conditioning.image_tokens
        if conditioning.latents is not None:
            latents = jnp.concatenate([latents, conditioning.latents], axis=-1)
        down, middle = apply(
            self.networks.controlnet,
            params[self.part]['controlnet'],
            latents,
            timesteps,
            text,
            tokens,
            conditioning.image,
            conditioning_scale,
        )
        output = apply(self.networks.unet, params[self.part]['unet'], latents, timesteps, text, tokens, down, middle)
        return output.astype(jnp.float32)

    def predict_z0(
        self,
        params: Tree,
        latents: jax.Array,
        timesteps: jax.Array,
        conditioning: Conditioning,
        conditioning_scale: float | jax.Array = 1.0,
    ) -> jax.Array:
        """F(z, t; c, e(c), p), the predictor of z0: [B, h, w, C] float32."""

        def answer(z: jax.Array, conditioning: Conditioning) -> jax.Array:
            return self.network_output(params, z, timesteps, conditioning, conditioning_scale)

        if self.windows.needed(*latents.shape[1:3]):
            side, factor = self.windows.shape(*latents.shape[1:3]), self.networks.spec.autoencoder.factor
            output = over_windows(
                self.windows, latents, lambda z, offset: answer(z, _window(conditioning, offset, side, factor))
            )
        else:
            output = answer(latents, conditioning)
        prediction = self.networks.spec.schedule.prediction
        return schedule.predict_z0(self.abar, prediction, output, latents, timesteps)

    def training_target(self, z0: jax.Array, noise: jax.Array, timesteps: jax.Array) -> jax.Array:
        """What `network_output` should answer at z_t: noise or velocity, as the schedule says."""
        prediction = self.networks.spec.schedule.prediction
        return schedule.training_target(self.abar, prediction, z0, noise, timesteps)

    def encode(self, params: Tree, images: jax.Array, noise: jax.Array) -> jax.Array:
        """E: scaled latents [B, h, w, C] of images [B, H, W, 3] in [-1, 1]; `noise` is the posterior's."""
        return self.drawn(self.posterior(params, images), noise)

    def posterior(self, params: Tree, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and deviation [B, h, w, C] of images [B, H, W, 3], of which `drawn` makes latents, each time others."""
        return posterior(apply(self.networks.autoencoder, params['autoencoder'], images, method='moments'))

    def drawn(self, moments: tuple[jax.Array, jax.Array], noise: jax.Array) -> jax.Array:
        """Scaled latents of a posterior and its noise, all [B, h, w, C]."""
        mean, std = moments
        return (mean + std * noise).astype(jnp.float32) * self.networks.spec.autoencoder.scaling_factor

    def decode(self, params: Tree, latents: jax.Array, lq: jax.Array) -> jax.Array:
        """clip(D): images [B, H, W, 3] in [-1, 1] of scaled latents; a guided D sees `lq`, which is like them."""
        latents = latents / self.networks.spec.autoencoder.scaling_factor
        images = apply(self.networks.autoencoder, params['autoencoder'], latents, lq, method='decode')
        return jnp.clip(images.astype(jnp.float32), -1, 1)

    def decode_tiny(self, params: Tree, latents: jax.Array) -> jax.Array:
        """`decode` by the small decoder, which sees latents alone; ValueError for a model that has none."""
        decoder = self.networks.tiny_decoder
        if decoder is None:
            raise ValueError(f'a model of size {self.networks.spec.name} has no tiny decoder')
        images = apply(decoder, params['tiny_decoder'], latents)
        return jnp.clip(images.astype(jnp.float32), -1, 1)

    def embed_text(self, params: Tree, tokens: jax.Array) -> jax.Array:
        """[B, 77] int32 -> [B, 77, T]."""
        return apply(self.networks.text_encoder, params['text_encoder'], tokens)

    def embed_image(self, params: Tree, images: jax.Array, *, clip_view: bool = False) -> jax.Array:
        """e(.): image tokens [B, 1 + n, I] of images [B, H, W, 3] in [0, 1].

        clip_view: the resized picture is clipped to [0, 1] again, as the published training does and its sampler not.
        """
        size = self.networks.spec.prompt_extractor.swin.image_size
        return apply(
            self.networks.prompt_extractor, params['prompt_extractor'], preprocess(images, size, clip=clip_view)
        )

    def condition(
        self,
        params: Tree,
        images: jax.Array,
        text: jax.Array,
        *,
        clip_view: bool = False,
        latents: jax.Array | None = None,
    ) -> Conditioning:
        """The conditioning on images [B, H, W, 3] in [0, 1] and an embedded text; `latents` where they are known."""
        tokens = self.embed_image(params, images, clip_view=clip_view)
        if not self.takes_condition_latents:
            latents = None
        elif latents is None:
            latents = self.encode(params, images * 2 - 1, jnp.zeros(()))
        return Conditioning(image=images, image_tokens=tokens, text=text, latents=latents)


def _window(conditioning: Conditioning, offset: jax.Array, side: tuple[int, int], factor: int) -> Conditioning:
    """What concerns a window of the latents; text and image tokens speak of the whole picture."""
    latents = None if conditioning.latents is None else cut(conditioning.latents, offset, side)
    image = cut(conditioning.image, offset, side, factor)
    return dataclasses.replace(conditioning, image=image, latents=latents)


def stack(first: Conditioning, second: Conditioning) -> Conditioning:
    """Both in one batch: the two halves of guidance, or of antithetic noise."""
    return jax.tree.map(_joined, first, second)


def _joined(a: Any, b: Any) -> Any:
    """Along the batch; what does not lie on a device stays there."""
    return (np if isinstance(a, np.ndarray) else jnp).concatenate([a, b])
