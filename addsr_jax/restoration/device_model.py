"""A model on devices: what a sampler's program takes of settings, its memory, and its call, for arrays.

Of files, tiles and canvases nothing is known here: `restoration.pipeline` has them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.data.tokens import Tokenizer
from addsr_jax.diffusion import sampler
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.diffusion.stepwise import Stepwise
from addsr_jax.diffusion.windows import Windows
from addsr_jax.errors import UserError
from addsr_jax.networks.build import Networks
from addsr_jax.options import declared, describe, from_data
from addsr_jax.restoration import mirrors, program
from addsr_jax.restoration.settings import FINISH, RESULT, Settings
from addsr_jax.runtime import compiled_bytes, compiler_options, free_memory, return_freed_memory
from addsr_jax.specs import PromptSpec
from addsr_jax.trees import Tree

# lq [B, H, W, 3], noise [B, N, h, w, C], words [B, 2, 77], tokens of the file [B, 1 + n, I] or None
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]

# Settings of `upscale` that the sampler alone has no use for.
OF_FILES = {'batch', 'scale', 'seed', 'tile'} | {
    name for name in declared(Settings) if describe(Settings, name).group in (FINISH, RESULT)
}


class Runtime(Protocol):
    """Whatever runs the sampler of a batch of tiles in the place of a program that XLA compiles."""

    def bytes_of(self, model: Any, shape: tuple[int, int], settings: Settings) -> int: ...

    def sample(self, model: Any, lq: Any, noise: Any, settings: Settings) -> Any: ...


@dataclass(frozen=True)
class DeviceModel:
    """Networks with their parameters on the devices of a mesh."""

    networks: Networks
    params: Tree  # by part: autoencoder, text_encoder, prompt_extractor, teacher, student
    tokenizer: Tokenizer
    mesh: Mesh
    runtime: Runtime | None = field(default=None, kw_only=True)  # None: XLA
    _programs: dict[Any, Any] = field(default_factory=dict, repr=False, kw_only=True)
    _bytes: dict[Any, int] = field(default_factory=dict, repr=False, kw_only=True)  # that those take

    def sample(self, lq: jax.Array, key: jax.Array, **settings: Any) -> jax.Array:
        """The sampler alone: lq [B, H, W, 3] in [-1, 1] at output size, H and W multiples of `grid` -> the same shape.

        settings: those fields of `Settings` that concern the sampler. Image i uses the numbers of fold_in(key, i).
        """
        unused = sorted(set(settings) & OF_FILES)
        if unused:
            raise UserError(f'sample: {", ".join(unused)} concern whole pictures and not the sampler: use upscale')
        self._check_sampled(lq, key)
        chosen = from_data(Settings, {**settings, 'tile': 0}, 'sample.')
        sampling = self._sampling(chosen)
        shape = (
            sampling.noise_fields,
            *(n // self.factor for n in lq.shape[1:3]),
            self.networks.spec.unet.out_channels,
        )
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(lq.shape[0]))
        drawn = jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
        words = np.repeat(self.words(chosen)[None], lq.shape[0], axis=0)
        return jnp.asarray(self._sample(lq, drawn, words, None, chosen))

    def _check_sampled(self, lq: Any, key: Any) -> None:
        """UserError for what `sample` cannot take, of which jax would say how it failed and not why."""
        shape = lq.shape if isinstance(lq, np.ndarray | jax.Array) else ()
        if len(shape) != 4 or shape[3] != 3 or any(n % self.grid or not n for n in shape[1:3]):
            found = list(shape) or type(lq).__name__
            raise UserError(f'sample: lq is [B, H, W, 3] with H and W multiples of {self.grid}, not {found}')
        if not isinstance(key, np.ndarray | jax.Array) or key.ndim > 1:
            raise UserError('sample: key is one of jax.random.key(SEED)')

    @property
    def factor(self) -> int:
        """Pixels per latent."""
        return self.networks.spec.autoencoder.factor

    @property
    def grid(self) -> int:
        """Tiles start and end at multiples of this: latents that every level of the UNet halves evenly."""
        return self.factor * 2 ** (len(self.networks.spec.unet.block_out_channels) - 1)

    def steps_of(self, settings: Settings) -> int:
        """How often the network is asked."""
        return settings.steps_with(self.networks.spec.view.student_steps)

    def free_memory(self) -> float:
        """Bytes that the devices have left."""
        stats = self.mesh.devices.flat[0].memory_stats() or {}
        if 'bytes_limit' in stats:
            return stats['bytes_limit'] - stats.get('bytes_in_use', 0)
        return free_memory()

    @property
    def on_cpu(self) -> bool:
        """Whether the devices' memory is the machine's."""
        return self.mesh.devices.flat[0].platform == 'cpu'

    def whole_calls(self, tiles: int) -> int:
        """So many tiles, or a few more, that every device has as many."""
        return -(-tiles // self.mesh.size) * self.mesh.size

    def bytes_of(self, shape: tuple[int, int], settings: Settings) -> int:
        """Bytes that a call of tiles [h, w] takes beside the weights, by the compiler's plan; its program is kept."""
        if self.runtime is not None:
            return self.runtime.bytes_of(self, shape, settings)
        sampling, params = self.sampling_and_params(settings)
        count, (height, width) = self.whole_calls(settings.batch), shape
        if sampling.windows.tiled:
            return program.needs_stepwise(self._stepwise(sampling), sampling, params, count, height, width)
        key = (sampling, count, height, width)
        if key not in self._programs:
            dtype = jnp.dtype(jax.tree.leaves(self.params['autoencoder'])[0].dtype).name
            kernel = self.networks.unet.kernel
            asked = program.Shaped(self.networks.spec, sampling, self.mesh, count, height, width, dtype, kernel)
            self._programs[key] = asked.compile()
            self._bytes[key] = compiled_bytes(self._programs[key])  # asked once: the answer takes 40 MB
            return_freed_memory()
        return self._bytes[key]

    def words(self, settings: Settings) -> np.ndarray:
        """Tokens [2, 77] of the prompt and of the negative prompt."""
        prompts = self.networks.spec.prompts
        negative = prompts.negative if settings.negative_prompt is None else settings.negative_prompt
        of_users = settings.prompt or settings.tags or settings.negative_prompt
        return self.tokenizer([prompt_of(settings, prompts), negative], kept=not of_users)

    def _guidance(self, settings: Settings) -> float:
        """The user's scale, or the model's own for a method that is guided; 1: no guidance."""
        if settings.guidance_scale is not None:
            return settings.guidance_scale
        return self.networks.spec.prompts.guidance_scale if settings.of_method.guided else 1.0

    def _sampling(self, settings: Settings) -> Sampling:
        """What the program for these settings is compiled for."""
        return Sampling.of(
            settings.of_method,
            self.steps_of(settings),
            self.networks.spec.schedule.steps,
            guided=self._guidance(settings) != 1,
            start_point=settings.start_point,
            start_timestep=settings.start_timestep,
            antithetic=settings.chosen.antithetic,
            tiny_decoder=settings.tiny_decoder,
            int8=settings.int8,
            windows=Windows(
                settings.latent_tile, settings.latent_overlap, settings.encoder_tile, settings.decoder_tile
            ),
        )

    def scalars(self, settings: Settings) -> dict[str, float]:
        """Numbers that a program takes."""
        return {'guidance_scale': self._guidance(settings), 'psr_weight': settings.chosen.psr_weight}

    def sampling_and_params(self, settings: Settings) -> tuple[Sampling, Tree]:
        """What the settings ask for, and the parameters that its program takes."""
        sampling = self._sampling(settings)
        program.check_holds(sampling.method, self.params)
        if sampling.tiny_decoder != 'none' and 'tiny_decoder' not in self.params:
            raise UserError(
                'these weights hold no tiny decoder: leave out --tiny_decoder, train one (configs/tiny_decoder.py), or '
                'convert them again with --tiny_decoder taesd_decoder.safetensors (docs/weights.md)'
            )
        return sampling, {part: self.params[part] for part in program.parts(sampling)}

    def _sample(
        self, lq: Any, noise: Any, words: np.ndarray, tokens: np.ndarray | None, settings: Settings
    ) -> jax.Array:
        """lq [B, H, W, 3], noise [B, N, h, w, C], words [B, 2, 77], tokens of the file or None -> [B, H, W, 3]."""
        if self.runtime is not None:
            return self.runtime.sample(self, lq, noise, settings)
        sampling, params = self.sampling_and_params(settings)
        batch = {'tokens': words} if tokens is None else {'tokens': words, 'image_tokens': tokens}
        scalars = self.scalars(settings)
        run: Any
        if sampling.windows.tiled:
            run = partial(program.run_stepwise, self._stepwise(sampling), sampling)
        else:
            run = self._programs.get((sampling, *lq.shape[:3]))  # what `need` has compiled
        if run is None:
            run = self._programs.setdefault(sampling, program.jitted(self.networks, sampling, self.mesh))

        def restored(lq: Any, noise: Any) -> jax.Array:
            given = {**batch, 'lq': lq, 'noise': noise}
            if not sampling.windows.tiled:
                given = jax.device_put(given, sharding.batch_sharding(self.mesh))
            return self._on_mesh(run, params, given, scalars)

        return mirrors.mean(restored, lq, noise) if settings.tta else restored(lq, noise)

    def _stepwise(self, sampling: Sampling) -> Stepwise:
        programs = self._programs.setdefault(('stepwise', sampling.int8), {})  # of tiles and windows
        return self._programs.setdefault(sampling, program.stepwise(self.networks, sampling, self.mesh, programs))

    def _sample_steps(self, arrays: Callable[[], Arrays], settings: Settings) -> Iterator[np.ndarray]:
        """What stands after each step of a method that refines; `arrays` are asked for anew, so that none are held."""
        sampling, params = self.sampling_and_params(settings)
        key = ('steps', dataclasses.replace(sampling, timesteps=(), tiny_decoder='none'))  # each is looked at
        if key not in self._programs:
            self._programs[key] = program.jitted_steps(self.networks, key[1], self.mesh)
        begin, step = self._programs[key]
        scalars = self.scalars(settings)
        texts, state = None, None
        for i in range(len(sampling.timesteps)):
            lq, noise, words, tokens = arrays()
            batch = {'lq': lq, 'noise': noise[:, :1], 'tokens': words}
            batch |= {} if tokens is None else {'image_tokens': tokens}
            batch, state = jax.device_put((batch, state), sharding.batch_sharding(self.mesh))
            if state is None:
                texts, state = self._on_mesh(begin, params, batch, scalars)
            every = sampler.addsr_steps(sampling, noise.swapaxes(0, 1), settings.chosen.psr_weight)
            at = jax.tree.map(lambda leaf, i=i: leaf[i], every)
            state = jax.device_get(self._on_mesh(step, params, batch, scalars, texts, state, at))
            yield state.prediction

    def _on_mesh(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """A program traced for the mesh, as kernels are that the compiler cannot split (`sharding.on_shares`)."""
        with jax.set_mesh(self.mesh):
            return run(*arguments)

    def _program(self, key: Any, function: Any) -> Any:
        """One jitted function per kind of call."""
        return self._programs.setdefault(key, jax.jit(function, compiler_options=compiler_options(self.mesh)))


def prompt_of(settings: Settings, prompts: PromptSpec) -> str:
    """Tags, the user's words and the added ones; with tags exactly as the published scripts join them."""
    added = getattr(prompts, settings.of_method.added_prompt)
    if settings.tags:
        return f'{settings.tags}, {settings.prompt},{added}'
    return ', '.join(text for text in (settings.prompt, added) if text)
