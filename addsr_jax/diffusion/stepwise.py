"""A denoiser that is no part of one program: pictures lie in the machine's memory, and devices see pieces of them.

The autoencoder goes tile by tile, the denoiser window by window where it has windows, and the steps of a sampler are
those of Python. So what is compiled depends on tiles and windows, and not on the picture.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from addsr_jax.diffusion import schedule
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser
from addsr_jax.networks.autoencoder import posterior
from addsr_jax.networks.autoencoder_tiles import Tiles
from addsr_jax.runtime import compiler_options
from addsr_jax.trees import Tree


@dataclass(frozen=True)
class Stepwise(Denoiser):
    """Pictures come and go as numpy's arrays; everything else as a `Denoiser`."""

    mesh: Mesh = field(kw_only=True)
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    def scan(self, step: Any, carry: Any, xs: Any) -> tuple[Any, Any]:
        rows = jax.tree.map(np.asarray, xs)
        for i in range(len(jax.tree.leaves(rows)[0])):
            carry, _ = step(carry, jax.tree.map(lambda row, i=i: row[i], rows))
        return carry, None

    def encode(self, params: Tree, images: Any, noise: Any) -> Any:
        if not self.windows.encoder:
            return self._call('encode', params, images, noise)
        tiles = self.tiles(self.windows.encoder // self.networks.spec.autoencoder.factor)
        moments = jnp.asarray(tiles.moments(params['autoencoder'], np.asarray(images)))
        mean, std = (np.asarray(x) for x in posterior(moments))
        return (mean + std * np.asarray(noise)) * np.float32(self.networks.spec.autoencoder.scaling_factor)

    def decode(self, params: Tree, latents: Any, lq: Any) -> Any:
        if not self.windows.decoder:
            return np.asarray(self._call('decode', params, latents, lq))
        latents = np.asarray(latents) / np.float32(self.networks.spec.autoencoder.scaling_factor)
        images = self.tiles(self.windows.decoder).decode(params['autoencoder'], latents, lq)
        return np.clip(images, -1, 1, out=images)

    def decode_tiny(self, params: Tree, latents: Any) -> Any:
        return np.asarray(self._call('decode_tiny', params, latents))

    def tiles(self, side: int) -> Tiles:
        """The autoencoder in tiles that give `side` latents along an axis."""
        made = Tiles(self.networks.autoencoder, side, self.mesh)
        return self.programs.setdefault(('tiles', side), made)

    def embed_text(self, params: Tree, tokens: Any) -> jax.Array:
        return self._call('embed_text', params, tokens)

    def embed_image(self, params: Tree, images: Any, *, clip_view: bool = False) -> jax.Array:
        return self._call('embed_image', params, images, clip_view=clip_view)

    def network_output(
        self, params: Tree, latents: Any, timesteps: Any, conditioning: Conditioning, conditioning_scale: Any = 1.0
    ) -> jax.Array:
        return self._call('network_output', params, latents, timesteps, conditioning, conditioning_scale)

    def predict_z0(
        self, params: Tree, latents: Any, timesteps: Any, conditioning: Conditioning, conditioning_scale: Any = 1.0
    ) -> Any:
        height, width = latents.shape[1:3]
        if not self.windows.needed(height, width):
            return super().predict_z0(params, latents, timesteps, conditioning, conditioning_scale)
        offsets, weights, total_weight = self.windows.weights(height, width)
        total, z = np.zeros(latents.shape, np.float32), np.asarray(latents)
        side = self.windows.shape(height, width)
        for top, left in offsets:
            here = (slice(None), slice(top, top + side[0]), slice(left, left + side[1]))
            seen = self.network_output(params, z[here], timesteps, self._window(conditioning, here), conditioning_scale)
            total[here] += weights * np.asarray(seen)
        prediction = self.networks.spec.schedule.prediction
        return schedule.predict_z0(self.abar, prediction, jnp.asarray(total / total_weight), latents, timesteps)

    def _window(self, conditioning: Conditioning, here: tuple[slice, ...]) -> Conditioning:
        factor = self.networks.spec.autoencoder.factor
        rows, columns = (slice(factor * part.start, factor * part.stop) for part in here[1:])
        latents = None if conditioning.latents is None else np.asarray(conditioning.latents)[here]
        return dataclasses.replace(conditioning, image=conditioning.image[:, rows, columns], latents=latents)

    def _call(self, name: str, params: Tree, *arrays: Any, **options: Any) -> Any:
        with jax.set_mesh(self.mesh):
            return self.jitted(name, **options)(params, *arrays)

    def jitted(self, name: str, **options: Any) -> Callable[..., Any]:
        """A method of `Denoiser` as a program of its own."""
        key = (name, self.part, *options.items())
        if key not in self.programs:
            method = partial(getattr(Denoiser, name), Denoiser(self.networks, self.part), **options)
            self.programs[key] = jax.jit(method, compiler_options=compiler_options(self.mesh))
        return self.programs[key]
