"""What a user's image goes through: bicubic upsampling, fixed-shape tiles, a sampler, the finish."""

import dataclasses
import zlib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from addsr_jax import sharding
from addsr_jax.data import pictures
from addsr_jax.data.tokens import Tokenizer, load_tokenizer
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.diffusion.windows import Windows
from addsr_jax.errors import UserError
from addsr_jax.networks.build import Networks, apply, build
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.ops import tiling
from addsr_jax.ops.attention import KERNELS
from addsr_jax.options import from_data
from addsr_jax.restoration import finish, program, views
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import compiler_options
from addsr_jax.specs import PromptSpec, with_attention
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.bundle import Bundle

SMALLEST = 8  # pixels of an input's shorter side; one of less is mirrored
# Settings of `upscale` that the sampler alone has no use for.
OF_FILES = ('batch', 'calm', 'color', 'grain', 'height', 'max_side', 'scale', 'seed', 'tile', 'width')
TILES = (128, 256)  # output pixels: an image that fits into a smaller tile need not pay for a whole one
THIN = (64, *TILES)  # the same of the shorter side of one that takes several tiles


def load(
    path_or_name: str | Path, mesh: Mesh | None = None, dtype: Any = None, attention: str | None = None
) -> 'Pipeline':
    """A model that is ready to upscale: 'nano', or a folder that training (`final/`) or `convert` wrote.

    mesh: devices to spread tiles over, default the first one. dtype: of weights and compute, default float32 on CPU
    and bfloat16 elsewhere. attention: kernel of the UNet and the ControlNet, a key of `ops.attention.KERNELS`, default
    the one that the weights name. UserError says what is wrong with a folder, or why there is no such kernel here.
    """
    mesh = mesh or sharding.make_mesh('data:1', jax.local_devices()[:1])
    platform = mesh.devices.flat[0].platform
    name = dtype if isinstance(dtype, str | None) else jnp.dtype(dtype).name
    dtype = sharding.compute_dtype(mesh, name or 'auto')
    check_attention(attention, platform, dtype)
    bundle = bundles.adapted(bundles.load(path_or_name, dtype, mesh=mesh))
    spec = with_attention(bundle.spec, attention) if attention else bundle.spec
    return built(dataclasses.replace(bundle, spec=spec), mesh, dtype)


def check_attention(name: str | None, platform: str, dtype: Any) -> None:
    """A UserError where there is no such kernel of attention, or none here."""
    if name not in (None, *KERNELS):
        raise UserError(f'there is no attention {name!r}: choose one of {", ".join(KERNELS)}')
    if name == 'cudnn' and (platform != 'gpu' or jnp.dtype(dtype) == jnp.float32):
        raise UserError(f'attention cudnn needs an NVIDIA GPU and bfloat16, not {platform} and {jnp.dtype(dtype)}')


def built(bundle: Bundle, mesh: Mesh, dtype: Any) -> 'Pipeline':
    """The networks of a bundle on the devices of a mesh; an adaptation that is kept apart plays no part."""
    return Pipeline(
        networks=build(bundle.spec, dtype),
        params=sharding.put_params(bundle.params, mesh),
        tokenizer=load_tokenizer(bundle.tokenizer),
        mesh=mesh,
    )


@dataclass(frozen=True)
class Pipeline:
    """Networks with their parameters on the devices; `upscale` for images, `sample` for arrays."""

    networks: Networks
    params: Tree  # by part: autoencoder, text_encoder, prompt_extractor, teacher, student
    tokenizer: Tokenizer
    mesh: Mesh
    _programs: dict[Any, Any] = field(default_factory=dict, repr=False)

    def upscale(self, image: np.ndarray | Image.Image, *, name: str = '', **settings: Any) -> np.ndarray:
        """RGB image, uint8 or uint16 [H, W, 3] or Pillow -> [scale H, scale W, 3] of the same type; Pillow's: uint8.

        Pillow's are turned as EXIF says, shown on white where they are transparent, and converted to sRGB.

        settings: fields of `Settings`. `name` (a file name) and `settings.seed` decide all random numbers, whatever
        the batch, the tiles and the devices.
        """
        return self.restore(image, from_data(Settings, settings, 'upscale.'), name)

    def restore(self, image: np.ndarray | Image.Image, settings: Settings, name: str) -> np.ndarray:
        """`upscale` with checked settings."""
        given = _as_array(image)
        height, width = given.shape[:2]
        scale = max(1, settings.enlargement(width, height))
        small = views.at_least(given, SMALLEST)
        large = views.enlarged(small, scale, self.networks.spec.view)
        lq = large.astype(np.float32) / np.float32(np.iinfo(large.dtype).max / 2) - 1
        h, w, _ = lq.shape
        plan = self._plan(h, w, settings.tile)
        tokens = self._file_tokens(small) if self.networks.spec.view.tokens_of == 'file' else None
        tiles = self._tiles(tiling.pad(lq, plan), plan, settings, name, tokens)
        restored = tiling.blend(tiles, plan, h, w)
        done = self._finished(restored, lq, small, settings)
        done = views.sized(done, *(views.times(n, scale) for n in small.shape[1::-1]))
        return views.sized(
            done[: views.times(height, scale), : views.times(width, scale)], *settings.size(width, height)
        )

    def _finished(self, restored: np.ndarray, lq: np.ndarray, small: np.ndarray, settings: Settings) -> np.ndarray:
        view = self.networks.spec.view
        color = settings.chosen.color or view.color
        grain = view.grain if settings.grain is None else settings.grain
        below = view.calm if settings.calm is None else settings.calm
        calm = finish.calm_places(small, below, lq.shape[1], lq.shape[0]) if below else None
        return finish.finished(restored, lq, color, grain, truncates=view.truncates, calm=calm, kind=small.dtype.type)

    def _plan(self, height: int, width: int, tile: int) -> tiling.Plan:
        """Tiles of a picture to restore; one that fits into a smaller tile gets that one."""
        if not tile:
            even = tuple(-(-n // self.factor) * self.factor for n in (height, width))
            return tiling.single(*even)
        if max(height, width) <= tile:
            side = next((t for t in TILES if max(height, width) <= t < tile), tile)
            return tiling.plan(height, width, (side, side), self.grid)
        tall, wide = (next((t for t in THIN if n <= t < tile and t % self.grid == 0), tile) for n in (height, width))
        return tiling.plan(height, width, (tall, wide), self.grid)

    def _small_view(self, small: np.ndarray) -> np.ndarray:
        return views.small_view(pictures.eight_bits(small), self.networks.spec.prompt_extractor.swin.image_size)

    def _file_tokens(self, small: np.ndarray) -> jax.Array:
        """Image tokens [1, 1 + n, I] of the whole file."""
        program = self._program('file tokens', lambda p, x: apply(self.networks.prompt_extractor, p, normalise(x)))
        return program(self.params['prompt_extractor'], self._small_view(small))

    def tag_probabilities(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """What the tagging head says of a picture: [classes] in 0..1."""
        extractor = self.networks.prompt_extractor
        program = self._program('tag', lambda p, x: apply(extractor, p, normalise(x), method='tokens_and_logits')[1])
        logits = program(self.params['prompt_extractor'], self._small_view(_as_array(image)))
        return np.asarray(jax.nn.sigmoid(logits.astype(jnp.float32)))[0]

    def sample(self, lq: jax.Array, key: jax.Array, **settings: Any) -> jax.Array:
        """The sampler alone: lq [B, H, W, 3] in [-1, 1] at output size, H and W multiples of `grid` -> the same shape.

        settings: those fields of `Settings` that concern the sampler. Image i uses the numbers of fold_in(key, i).
        """
        unused = sorted(set(settings) & set(OF_FILES))
        if unused:
            raise UserError(f'sample: {", ".join(unused)} concern whole pictures and not the sampler: use upscale')
        chosen = from_data(Settings, {**settings, 'tile': 0}, 'sample.')
        sampling = self._sampling(chosen)
        shape = (
            sampling.noise_fields,
            *(n // self.factor for n in lq.shape[1:3]),
            self.networks.spec.unet.out_channels,
        )
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(lq.shape[0]))
        noise = jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
        return self._sample(lq, noise, chosen, None)

    @property
    def factor(self) -> int:
        """Pixels per latent."""
        return self.networks.spec.autoencoder.factor

    @property
    def grid(self) -> int:
        """Tiles start and end at multiples of this: latents that every level of the UNet halves evenly."""
        return self.factor * 2 ** (len(self.networks.spec.unet.block_out_channels) - 1)

    def _tiles(
        self, lq: np.ndarray, plan: tiling.Plan, settings: Settings, name: str, tokens: jax.Array | None
    ) -> np.ndarray:
        """Restored tiles [n, side, side, 3]; a tile's noise is cut out of the image's."""
        key = jax.random.fold_in(
            jax.random.key(settings.seed), zlib.crc32(name.encode(errors='surrogateescape')) & 0x7FFFFFFF
        )
        fields = (self._sampling(settings).noise_fields, *(n // self.factor for n in plan.padded))
        noise = np.asarray(jax.random.normal(key, (*fields, self.networks.spec.unet.out_channels)))
        images, noises = tiling.cut(lq, plan), tiling.cut(noise, plan, self.factor)
        size = -(-min(settings.batch, len(images)) // self.mesh.size) * self.mesh.size
        done = []
        for start in range(0, len(images), size):
            chosen = np.minimum(np.arange(start, start + size), len(images) - 1)  # the last group repeats its last tile
            done.append(np.asarray(self._sample(images[chosen], noises[chosen], settings, tokens)))
        return np.concatenate(done)[: len(images)]

    def _guidance(self, settings: Settings) -> float:
        """The user's scale, or the model's own for a method that is guided; 1: no guidance."""
        if settings.guidance_scale is not None:
            return settings.guidance_scale
        return self.networks.spec.prompts.guidance_scale if settings.of_method.guided else 1.0

    def _sampling(self, settings: Settings) -> Sampling:
        """What the program for these settings is compiled for."""
        return Sampling.of(
            settings.of_method,
            settings.chosen.steps,
            self.networks.spec.schedule.steps,
            guided=self._guidance(settings) != 1,
            start_point=settings.start_point,
            start_timestep=settings.start_timestep,
            antithetic=settings.chosen.antithetic,
            windows=Windows(
                settings.latent_tile, settings.latent_overlap, settings.encoder_tile, settings.decoder_tile
            ),
        )

    def _sample(self, lq: Any, noise: Any, settings: Settings, tokens: jax.Array | None) -> jax.Array:
        """lq [B, H, W, 3], noise [B, N, h, w, C], tokens of the file or None -> [B, H, W, 3], one compiled call."""
        prompts, sampling = self.networks.spec.prompts, self._sampling(settings)
        if sampling.method.part not in self.params:
            raise UserError(
                f'these weights hold no {sampling.method.part}, which --method {settings.method} needs: '
                f'they have {", ".join(sorted(self.params))}'
            )
        params = {part: self.params[part] for part in program.parts(sampling)}
        negative = prompts.negative if settings.negative_prompt is None else settings.negative_prompt
        ids = self.tokenizer([prompt_of(settings, prompts), negative])
        batch = {'lq': lq, 'noise': noise, 'tokens': np.repeat(ids[None], len(lq), axis=0)}
        if tokens is not None:
            batch['image_tokens'] = np.repeat(np.asarray(tokens), len(lq), axis=0)
        scalars = {'guidance_scale': self._guidance(settings), 'psr_weight': settings.chosen.psr_weight}
        if sampling not in self._programs:
            self._programs[sampling] = program.jitted(self.networks, sampling, self.mesh)
        run = self._programs[sampling]
        return run(params, jax.device_put(batch, sharding.batch_sharding(self.mesh)), scalars)

    def _program(self, key: Any, function: Any) -> Any:
        """One jitted function per kind of call."""
        if key not in self._programs:
            self._programs[key] = jax.jit(function, compiler_options=compiler_options(self.mesh))
        return self._programs[key]


def prompt_of(settings: Settings, prompts: PromptSpec) -> str:
    """Tags, the user's words and the added ones; with tags exactly as the published scripts join them."""
    added = getattr(prompts, settings.of_method.added_prompt)
    if settings.tags:
        return f'{settings.tags}, {settings.prompt},{added}'
    return ', '.join(text for text in (settings.prompt, added) if text)


def _as_array(image: np.ndarray | Image.Image) -> np.ndarray:
    """uint8 or uint16 [H, W, 3]; Pillow's by the rules that files are read by."""
    if isinstance(image, Image.Image):
        return pictures.from_pillow(image)
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f'an image is uint8 or uint16 [H, W, 3], not {image.dtype} {list(image.shape)}')
    return image
