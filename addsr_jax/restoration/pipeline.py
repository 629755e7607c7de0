"""What a user's image goes through: bicubic upsampling, fixed-shape tiles, a sampler, the finish."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from addsr_jax.data.resize import small_view
from addsr_jax.data.tokens import Tokenizer, load_tokenizer
from addsr_jax.diffusion import sampler
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.diffusion.stepwise import Stepwise
from addsr_jax.diffusion.windows import Windows
from addsr_jax.errors import PictureError, UserError
from addsr_jax.networks.build import Networks, apply, build
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.ops import tiling
from addsr_jax.ops.attention import chosen as chosen_attention
from addsr_jax.options import declared, describe, from_data
from addsr_jax.restoration import finish, kinds, mirrors, noise, program, results, steps, stream, views
from addsr_jax.restoration.bounds import Bounds
from addsr_jax.restoration.cut import Cut
from addsr_jax.restoration.settings import FINISH, FREE, RESULT, SMALLEST_TILE, Settings
from addsr_jax.runtime import compiler_options, free_memory
from addsr_jax.specs import PromptSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import hub, tags
from addsr_jax.weights.bundle import Bundle

SMALLEST = 8  # pixels of an input's shorter side; one of less is mirrored
# Settings of `upscale` that the sampler alone has no use for.
OF_FILES = {'batch', 'scale', 'seed', 'tile'} | {
    name for name in declared(Settings) if describe(Settings, name).group in (FINISH, RESULT)
}
TILES = (128, 256)  # output pixels: an image that fits into a smaller tile need not pay for a whole one
THIN = (64, *TILES)  # the same of the shorter side of one that takes several tiles


def load(path_or_name: str | Path, mesh: Mesh | None = None, dtype: Any = None, attention: str = 'auto') -> 'Pipeline':
    """A model that is ready to upscale: 'nano', a folder that training (`final/`) or `convert` wrote, or ORG/NAME.

    ORG/NAME[@REVISION] is a model on a hub (`weights.hub`). mesh: devices to spread tiles over, default the first one.
    dtype: of weights and compute, default float32 on CPU and bfloat16 elsewhere. attention: a kernel of
    `ops.attention.KERNELS`, or 'auto', the quickest that the devices have. UserError says what is wrong with a folder
    or a name, or why there is no such kernel here.
    """
    mesh = mesh or sharding.make_mesh('data:1', jax.local_devices()[:1])
    name = dtype if isinstance(dtype, str | None) else jnp.dtype(dtype).name
    dtype = sharding.compute_dtype(mesh, name or 'auto')
    kernel = chosen_attention(attention, mesh.devices.flat[0], dtype)
    bundle = bundles.adapted(bundles.load(hub.located(path_or_name), dtype, mesh=mesh))
    return built(bundle, mesh, dtype, kernel)


def built(bundle: Bundle, mesh: Mesh, dtype: Any, attention: str = 'chunked') -> 'Pipeline':
    """The networks of a bundle on the devices of a mesh; an adaptation that is kept apart plays no part."""
    return Pipeline(
        networks=build(bundle.spec, dtype, attention),
        params=sharding.put_params(bundle.params, mesh),
        tokenizer=load_tokenizer(bundle.tokenizer),
        mesh=mesh,
        vocabulary=None if bundle.tags is None else tags.read_folder(bundle.tags, bundle.spec),
    )


@dataclass(frozen=True)
class Pipeline:
    """Networks with their parameters on the devices; `upscale` for images, `sample` for arrays."""

    networks: Networks
    params: Tree  # by part: autoencoder, text_encoder, prompt_extractor, teacher, student
    tokenizer: Tokenizer
    mesh: Mesh
    vocabulary: tags.Vocabulary | None = None  # of the weights' tagging head: pictures' tags become part of the prompt
    _programs: dict[Any, Any] = field(default_factory=dict, repr=False)

    def upscale(
        self, image: Any, *, name: str | None = None, progress: stream.Progress | None = None, **settings: Any
    ) -> Any:
        """A picture, four times larger unless `settings` say otherwise, of the kind that it is given as.

        image: a path, read as the command reads it, whose result is Pillow's; Pillow's, with its profile and
        transparency kept; an array of numpy or jax, uint8, uint16 or floats in 0..1, of [H, W], [H, W, 1], [H, W, 3],
        [H, W, 4] with alpha, or [B, H, W, C]. settings: fields of `Settings`. `name` (None: the file's, of a path) and
        `settings.seed` decide all random numbers, whatever the batch, the tiles and the devices. progress: called with
        the tiles that are done and those there are; Cancelled is raised where it returns False. PictureError: this is
        no picture. UserError: settings that are not possible here.
        """
        chosen = from_data(Settings, settings, 'upscale.')
        taken = kinds.taken(image, chosen)
        given = taken.name if name is None else name
        cuts = [self.cut(results.visible(picture), chosen, given) for picture in taken.pictures]
        return taken.back(self._all(cuts, progress))

    def upscale_many(
        self,
        images: Iterable[Any],
        *,
        on_error: Callable[[int, UserError], object] | None = None,
        progress: stream.Progress | None = None,
        **settings: Any,
    ) -> Iterator[Any]:
        """`upscale` of each image, in their order, as they are done: read ahead, with tiles of several in one call.

        images: anything `upscale` takes but batches. on_error: gets the number of a picture that has no result, and
        why, and the others go on; None: that is raised. progress: as of `upscale`, the number of all tiles being None.
        """
        chosen = from_data(Settings, settings, 'upscale_many.')
        backs: dict[int, Callable[[list[np.ndarray]], Any]] = {}

        def read(item: tuple[int, Any]) -> Cut:
            number, image = item
            taken = kinds.taken(image, chosen)
            if len(taken.pictures) != 1:
                raise PictureError(f'image {number} is a batch: give its pictures one by one')
            backs[number] = taken.back
            return self.cut(results.visible(taken.pictures[0]), chosen, taken.name)

        clock = stream.Clock(tell=stream.Counted(progress, None).more)
        works = stream.restored(self, enumerate(images), read, chosen.batch, clock=clock)
        for number, work in enumerate(stream.in_order(works, lambda item: item[0])):
            if isinstance(work, stream.Failed) and on_error is not None:
                on_error(number, work.error)
            else:
                result = self._result(work)
                yield backs.pop(number)([result])

    def upscale_steps(
        self, image: Any, *, name: str | None = None, progress: stream.Progress | None = None, **settings: Any
    ) -> Iterator[Any]:
        """The enlarged picture, then what stands after each step, as they come; the last is `upscale`'s result.

        image: anything `upscale` takes but batches. settings: of a method that refines, without tta. progress: as of
        `upscale`; every tile counts once a step.
        """
        chosen = from_data(Settings, settings, 'upscale_steps.')
        taken = kinds.taken(image, chosen)
        if len(taken.pictures) != 1:
            raise PictureError('this is a batch: give its pictures one by one')
        cut = self.cut(results.visible(taken.pictures[0]), chosen, taken.name if name is None else name)
        for picture in steps.restored(self, cut, progress):
            yield taken.back([picture])

    def restore(self, image: np.ndarray | Image.Image, settings: Settings, name: str) -> np.ndarray:
        """uint8 or uint16 [H, W, 3], or Pillow's, with checked settings -> its result, an array."""
        return self._all([self.cut(image, settings, name)], None)[0]

    def _all(self, cuts: Sequence[Cut], progress: stream.Progress | None) -> list[np.ndarray]:
        """Results of pictures of the same settings; a call has no more tiles than there are."""
        count = sum(cut.count for cut in cuts)
        clock = stream.Clock(tell=stream.Counted(progress, count).more)
        batch = min(cuts[0].settings.batch, count)
        works = stream.restored(self, range(len(cuts)), cuts.__getitem__, batch, clock=clock)
        return [self._result(work) for work in stream.in_order(works, int)]

    def _result(self, work: stream.Work | stream.Failed) -> np.ndarray:
        if isinstance(work, stream.Failed):
            raise work.error
        return self.joined(work.cut, work.canvas)

    def cut(self, image: np.ndarray | Image.Image, settings: Settings, name: str) -> Cut:
        """A picture enlarged and ready to be restored tile by tile; `joined` is the way back."""
        given = _as_array(image)
        settings = self._tagged(given, settings)
        height, width = given.shape[:2]
        scale = max(1, settings.enlargement(width, height))
        small = views.at_least(given, SMALLEST)
        large = views.enlarged(small, scale, self.networks.spec.view)
        plan = self.plan(large.shape[0], large.shape[1], settings.tile)
        return Cut(
            given=given,
            name=name,
            settings=settings,
            scale=scale,
            small=small,
            size=(large.shape[0], large.shape[1]),
            plan=plan,
            large=tiling.pad(large, plan),
            noise=self._noise(plan, settings, name),
            words=self._words(settings),
            tokens=self._file_tokens(small) if self.networks.spec.view.tokens_of == 'file' else None,
        )

    def _tagged(self, given: np.ndarray, settings: Settings) -> Settings:
        """The settings with the picture's own tags, where nobody has said which."""
        if settings.tags is not None or self.vocabulary is None:
            return settings
        return dataclasses.replace(settings, tags=self.vocabulary.text(self.tag_probabilities(given)))

    def joined(self, cut: Cut, canvas: tiling.Canvas) -> np.ndarray:
        """The canvas of all restored tiles of a cut picture -> the result, uint8 or uint16 [H, W, 3] as the picture."""
        (height, width), settings, scale = cut.given.shape[:2], cut.settings, cut.scale
        done = self._finished(canvas.image(*cut.size), cut.large[: cut.size[0], : cut.size[1]], cut.small, settings)
        done = views.sized(done, *(views.times(n, scale) for n in cut.small.shape[1::-1]))
        done = done[: views.times(height, scale), : views.times(width, scale)]
        return views.sized(done, *settings.size(width, height))

    def smaller(self, cut: Cut, tile: int | None = None) -> Cut:
        """The same picture in smaller tiles: half as large, or `tile`; one that is to be whole, in pieces of a call.

        A UserError below the smallest.
        """
        if not cut.settings.tile:
            less = cut.settings.in_less_memory()
            if less is None:
                raise UserError('there is no memory for the whole picture at once: leave out --tile 0')
            return dataclasses.replace(cut, settings=less)
        side = tile or cut.settings.tile // 2 // 64 * 64
        if side < SMALLEST_TILE:
            raise UserError(f'there is no memory for a tile of {cut.settings.tile} pixels: close other programs')
        return self.cut(cut.given, dataclasses.replace(cut.settings, tile=side), cut.name)

    def tiles(self, size: tuple[int, int], settings: Settings) -> int:
        """How many a picture of that width and height is cut into."""
        return len(self._plan_of(size, settings).offsets)

    def need(self, size: tuple[int, int], settings: Settings) -> int:
        """Bytes that a call for a picture of that width and height takes beside the weights, by the compiler's plan.

        What it compiles is kept, and the call itself uses it.
        """
        sampling, count = self._sampling(settings), self.whole_calls(settings.batch)
        height, width = self._plan_of(size, settings).shape
        key = (sampling, count, height, width)
        if sampling.windows.tiled:
            model, params = self._stepwise(sampling), {part: self.params[part] for part in program.parts(sampling)}
            return program.needs_stepwise(model, sampling, params, count, height, width)
        if key not in self._programs:
            dtype = jnp.dtype(jax.tree.leaves(self.params['autoencoder'])[0].dtype).name
            kernel = self.networks.unet.kernel
            traced = program.trace(self.networks.spec, sampling, self.mesh, count, height, width, dtype, kernel)
            self._programs[key] = traced.lower().compile()
        found = self._programs[key].memory_analysis()
        return found.temp_size_in_bytes + found.output_size_in_bytes + found.generated_code_size_in_bytes

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

    def call(self, tiles: Sequence[tuple[Cut, int]], size: int) -> jax.Array:
        """Tiles of one shape, of pictures of the same settings but for words, restored in one call: [size, h, w, 3].

        The last one is repeated until there are `size`. The result may still be on its way.
        """
        lq, noise, words, tokens = self._arrays(tiles, size)
        return self._sample(lq, noise, words, tokens, tiles[0][0].settings)

    def call_steps(self, tiles: Sequence[tuple[Cut, int]], size: int) -> Iterator[np.ndarray]:
        """`call` of a method that refines, after each of its steps; between them nothing stays on the devices."""
        settings = tiles[0][0].settings
        sampling, params = self._sampling_and_params(settings)
        key = ('steps', dataclasses.replace(sampling, timesteps=()))
        if key not in self._programs:
            self._programs[key] = program.jitted_steps(self.networks, key[1], self.mesh)
        begin, step = self._programs[key]
        scalars = self._scalars(settings)
        texts, state = None, None
        for i in range(len(sampling.timesteps)):
            lq, noise, words, tokens = self._arrays(tiles, size)
            batch = {'lq': lq, 'noise': noise[:, :1], 'tokens': words}
            batch |= {} if tokens is None else {'image_tokens': tokens}
            batch, state = jax.device_put((batch, state), sharding.batch_sharding(self.mesh))
            if state is None:
                texts, state = begin(params, batch, scalars)
            every = sampler.addsr_steps(sampling, noise.swapaxes(0, 1), settings.chosen.psr_weight)
            at = jax.tree.map(lambda leaf, i=i: leaf[i], every)
            state = jax.device_get(step(params, batch, scalars, texts, state, at))
            yield state.prediction

    def _arrays(
        self, tiles: Sequence[tuple[Cut, int]], size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """lq, noise, words and tokens of tiles, as `_sample` takes them; the last one repeated until `size`."""
        chosen = [tiles[min(i, len(tiles) - 1)] for i in range(size)]
        tokens = None if chosen[0][0].tokens is None else np.concatenate([np.asarray(cut.tokens) for cut, _ in chosen])
        return (
            np.stack([finish.signed(tiling.tile(cut.large, cut.plan, i)) for cut, i in chosen]),
            np.stack([tiling.tile(cut.noise, cut.plan, i, self.factor) for cut, i in chosen]),
            np.stack([cut.words for cut, _ in chosen]),
            tokens,
        )

    def _finished(self, restored: np.ndarray, lq: np.ndarray, small: np.ndarray, settings: Settings) -> np.ndarray:
        view = self.networks.spec.view
        color = settings.chosen.color or view.color
        grain = view.grain if settings.grain is None else settings.grain
        below = view.calm if settings.calm is None else settings.calm
        overshoot = view.overshoot if settings.overshoot is None else settings.overshoot
        bounds = Bounds.around(small, overshoot, lq.shape[:2]) if overshoot < FREE else None
        calm = finish.calm_places(small, below, lq.shape[1], lq.shape[0]) if below else None
        return finish.finished(
            restored,
            lq,
            color,
            grain,
            truncates=view.truncates,
            bounds=bounds,
            calm=calm,
            kind=small.dtype.type,
        )

    def _plan_of(self, size: tuple[int, int], settings: Settings) -> tiling.Plan:
        """Tiles of a picture of that width and height, before anything of it is read."""
        size = settings.part(*size)[2:]
        scale = max(1, settings.enlargement(*size))
        width, height = (max(side, SMALLEST) for side in size)
        width, height = views.enlarged_size(width, height, scale, self.networks.spec.view)
        return self.plan(height, width, settings.tile)

    def plan(self, height: int, width: int, tile: int) -> tiling.Plan:
        """Tiles of a picture to restore; one that fits into a smaller tile gets that one.

        One of several tiles gets those of three sizes that compute the fewest pixels: so few programs suffice.
        """
        if not tile:
            even = tuple(-(-n // self.factor) * self.factor for n in (height, width))
            return tiling.single(*even)
        if max(height, width) <= tile:
            side = next((t for t in TILES if max(height, width) <= t < tile), tile)
            return tiling.plan(height, width, (side, side), self.grid)
        plans, least = [], max(SMALLEST_TILE, self.networks.spec.view.smallest_output)
        for side in (tile, *(tile * part // 8 // 64 * 64 for part in (7, 6))):
            if side == tile or side >= least:
                thin = [next((t for t in THIN if n <= t < side and t % self.grid == 0), side) for n in (height, width)]
                plans.append(tiling.plan(height, width, (thin[0], thin[1]), self.grid))
        return min(plans, key=lambda plan: plan.computed)  # of equals the largest tiles

    def _small_view(self, small: np.ndarray) -> np.ndarray:
        return small_view(pictures.eight_bits(small), self.networks.spec.prompt_extractor.swin.image_size)

    def _file_tokens(self, small: np.ndarray) -> jax.Array:
        """Image tokens [1, 1 + n, I] of the whole file."""
        program = self._program('file tokens', lambda p, x: apply(self.networks.prompt_extractor, p, normalise(x)))
        return program(self.params['prompt_extractor'], self._small_view(small))

    def tag_probabilities(self, image: np.ndarray | Image.Image) -> np.ndarray:
        """What the tagging head says of a picture: [classes] in 0..1."""
        program = self._program('tag', partial(tags.logits, self.networks))
        side = self.networks.spec.prompt_extractor.swin.image_size
        return tags.probabilities(program, self.params['prompt_extractor'], _as_array(image), side)

    def sample(self, lq: jax.Array, key: jax.Array, **settings: Any) -> jax.Array:
        """The sampler alone: lq [B, H, W, 3] in [-1, 1] at output size, H and W multiples of `grid` -> the same shape.

        settings: those fields of `Settings` that concern the sampler. Image i uses the numbers of fold_in(key, i).
        """
        unused = sorted(set(settings) & OF_FILES)
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
        drawn = jax.vmap(lambda k: jax.random.normal(k, shape))(keys)
        words = np.repeat(self._words(chosen)[None], lq.shape[0], axis=0)
        return self._sample(lq, drawn, words, None, chosen)

    @property
    def factor(self) -> int:
        """Pixels per latent."""
        return self.networks.spec.autoencoder.factor

    @property
    def grid(self) -> int:
        """Tiles start and end at multiples of this: latents that every level of the UNet halves evenly."""
        return self.factor * 2 ** (len(self.networks.spec.unet.block_out_channels) - 1)

    def _noise(self, plan: tiling.Plan, settings: Settings, name: str) -> np.ndarray:
        """[N, h, w, C] of a padded picture."""
        height, width = (n // self.factor for n in plan.padded)
        channels, fields = self.networks.spec.unet.out_channels, self._sampling(settings).noise_fields
        key = noise.key_of(settings.seed, name)
        return noise.drawn(key, (fields, height, width, channels), noise.BLOCK // self.factor)

    def _words(self, settings: Settings) -> np.ndarray:
        """Tokens [2, 77] of the prompt and of the negative prompt."""
        prompts = self.networks.spec.prompts
        negative = prompts.negative if settings.negative_prompt is None else settings.negative_prompt
        return self.tokenizer([prompt_of(settings, prompts), negative])

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
            windows=Windows(
                settings.latent_tile, settings.latent_overlap, settings.encoder_tile, settings.decoder_tile
            ),
        )

    def _scalars(self, settings: Settings) -> dict[str, float]:
        """Numbers that a program takes."""
        return {'guidance_scale': self._guidance(settings), 'psr_weight': settings.chosen.psr_weight}

    def _sampling_and_params(self, settings: Settings) -> tuple[Sampling, Tree]:
        """What the settings ask for, and the parameters that its program takes."""
        sampling = self._sampling(settings)
        if sampling.method.part not in self.params:
            raise UserError(
                f'these weights hold no {sampling.method.part}, which --method {settings.method} needs: '
                f'they have {", ".join(sorted(self.params))}'
            )
        return sampling, {part: self.params[part] for part in program.parts(sampling)}

    def _sample(
        self, lq: Any, noise: Any, words: np.ndarray, tokens: np.ndarray | None, settings: Settings
    ) -> jax.Array:
        """lq [B, H, W, 3], noise [B, N, h, w, C], words [B, 2, 77], tokens of the file or None -> [B, H, W, 3]."""
        sampling, params = self._sampling_and_params(settings)
        batch = {'tokens': words} if tokens is None else {'tokens': words, 'image_tokens': tokens}
        scalars = self._scalars(settings)
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
            return run(params, given, scalars)

        return mirrors.mean(restored, lq, noise) if settings.tta else restored(lq, noise)

    def _stepwise(self, sampling: Sampling) -> Stepwise:
        return self._programs.setdefault(sampling, program.stepwise(self.networks, sampling, self.mesh))

    def _program(self, key: Any, function: Any) -> Any:
        """One jitted function per kind of call."""
        return self._programs.setdefault(key, jax.jit(function, compiler_options=compiler_options(self.mesh)))


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
