"""What a user's image goes through: bicubic upsampling, fixed-shape tiles, a sampler, the finish."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.errors import PictureError, UserError, complain
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.prompt_extractor import normalise
from addsr_jax.ops import tiling
from addsr_jax.ops.attention import chosen as chosen_attention
from addsr_jax.options import from_data
from addsr_jax.restoration import by_onnx, finish, kinds, noise, plainness, results, steps, stream, views
from addsr_jax.restoration.bounds import Bounds
from addsr_jax.restoration.cut import Cut
from addsr_jax.restoration.device_model import Arrays, DeviceModel
from addsr_jax.restoration.edges import edges_of
from addsr_jax.restoration.film_grain import film_grain_of
from addsr_jax.restoration.program import only_for
from addsr_jax.restoration.settings import FREE, SMALLEST, SMALLEST_TILE, Settings, half_of
from addsr_jax.runtime import return_freed_memory
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import hub, tags
from addsr_jax.weights.bundle import Bundle

TILES = (128, 256)  # output pixels: an image that fits into a smaller tile need not pay for a whole one
THIN = (64, *TILES)  # the same of the shorter side of one that takes several tiles


def load(
    path_or_name: str | Path,
    mesh: Mesh | None = None,
    dtype: Any = None,
    attention: str = 'auto',
    runtime: str = 'xla',
    tell: Callable[[str], object] = complain,
    method: str | None = None,
) -> 'Pipeline':
    """A model that is ready to upscale: 'nano', a folder that training (`final/`) or `convert` wrote, or ORG/NAME.

    ORG/NAME[@REVISION] is a model on a hub (`weights.hub`). mesh: devices to spread tiles over, default the first one.
    dtype: of weights and compute, default float32 on CPU and bfloat16 elsewhere. attention: a kernel of
    `ops.attention.KERNELS`, or 'auto', the quickest that the devices have. runtime: one of `specs.RUNTIMES` for the
    sampler; with 'onnx' `tell` is given a line where one is made, which takes a minute, once. method: 'addsr' or
    'seesr', where no other will be asked for: the networks of the others are not loaded. UserError says what is wrong
    with a folder or a name, or why there is no such kernel here.
    """
    if not isinstance(path_or_name, str | os.PathLike):
        raise UserError(f"load takes 'nano', a folder, or ORG/NAME of a hub, not {type(path_or_name).__name__}")
    runs = by_onnx.runtime(runtime, tell)
    mesh = mesh or sharding.make_mesh('data:1', jax.local_devices()[:1])
    name = dtype if isinstance(dtype, str | None) else jnp.dtype(dtype).name
    dtype = sharding.compute_dtype(mesh, name or 'auto')
    kernel = chosen_attention(attention, mesh.devices.flat[0], dtype)
    place = hub.located(path_or_name)
    only = None
    if method is not None:
        only = only_for(from_data(Settings, {'method': method}, 'load.').of_method, bundles.parts_of(place))
    bundle = bundles.adapted(bundles.load(place, dtype, mesh=mesh, only=only))
    model = dataclasses.replace(built(bundle, mesh, dtype, kernel), runtime=runs)
    return_freed_memory()
    return model


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
class Pipeline(DeviceModel):
    """Networks with their parameters on the devices; `upscale` for images, `sample` for arrays."""

    vocabulary: tags.Vocabulary | None = None  # of the weights' tagging head: pictures' tags become part of the prompt

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
        if self.runtime is not None:
            raise UserError('upscale_steps: ONNX Runtime shows no step but the last: load without runtime')
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
        return self.joined(*work.taken())

    def cut(self, image: np.ndarray | Image.Image, settings: Settings, name: str) -> Cut:
        """A picture [H, W] or [H, W, 3] enlarged and ready to be restored tile by tile; `joined` is the way back."""
        given = _as_array(image)
        if not isinstance(name, str):
            raise UserError(f'name is the text that decides the noise, like a file name, not {type(name).__name__}')
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
            noise=self._noise(settings, name),
            words=self.words(settings),
            tokens=self._file_tokens(small) if self.networks.spec.view.tokens_of == 'file' else None,
        )

    def _tagged(self, given: np.ndarray, settings: Settings) -> Settings:
        """The settings with the picture's own tags, where nobody has said which."""
        if (vocabulary := self._vocabulary_for(settings)) is None:
            return settings
        return dataclasses.replace(settings, tags=vocabulary.text(self.tag_probabilities(given)))

    def _vocabulary_for(self, settings: Settings) -> tags.Vocabulary | None:
        """None where pictures are not tagged; a UserError where they would be, and the sampler has one prompt."""
        if settings.tags is not None or self.vocabulary is None:
            return None
        if self.runtime is not None:
            raise UserError("--runtime onnx has one prompt for all pictures, without each one's tags: add --no_tags")
        return self.vocabulary

    def joined(self, cut: Cut, canvas: tiling.Canvas) -> np.ndarray:
        """The canvas of all restored tiles of a cut picture -> the result, uint8 or uint16 [H, W, 3] as the picture.

        The canvas is used up.
        """
        (height, width), settings, scale = cut.given.shape[:2], cut.settings, cut.scale
        done = self._finished(canvas.image(*cut.size), cut)
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
        side = tile or half_of(cut.settings.tile)
        if not side:
            raise UserError(f'there is no memory for a tile of {cut.settings.tile} pixels: close other programs')
        return self.cut(cut.given, dataclasses.replace(cut.settings, tile=side), cut.name)

    def tiles(self, size: tuple[int, int], settings: Settings) -> int:
        """How many a picture of that width and height is cut into."""
        return len(self._plan_of(size, settings).offsets)

    def need(self, size: tuple[int, int], settings: Settings) -> int:
        """Bytes that a call for a picture of that width and height takes beside the weights, by the compiler's plan.

        What it compiles is kept, and the call itself uses it.
        """
        self._vocabulary_for(settings)
        return self.bytes_of(self._plan_of(size, settings).shape, settings)

    def call(self, tiles: Sequence[tuple[Cut, int]], size: int) -> jax.Array:
        """Tiles of one shape, of pictures of the same settings but for words, restored in one call: [size, h, w, 3].

        The last one is repeated until there are `size`. The result may still be on its way.
        """
        lq, noise, words, tokens = self._arrays(tiles, size)
        return self._sample(lq, noise, words, tokens, tiles[0][0].settings)

    def call_steps(self, tiles: Sequence[tuple[Cut, int]], size: int) -> Iterator[np.ndarray]:
        """`call` of a method that refines, after each of its steps; between them nothing stays on the devices."""
        return self._sample_steps(lambda: self._arrays(tiles, size), tiles[0][0].settings)

    def _arrays(self, tiles: Sequence[tuple[Cut, int]], size: int) -> Arrays:
        """lq, noise, words and tokens of tiles, as `_sample` takes them; the last one repeated until `size`."""
        chosen = [tiles[min(i, len(tiles) - 1)] for i in range(size)]
        tokens = None if chosen[0][0].tokens is None else np.concatenate([np.asarray(cut.tokens) for cut, _ in chosen])
        return (
            np.stack([finish.signed(tiling.tile(cut.large, cut.plan, i)) for cut, i in chosen]),
            np.stack([cut.noise.part(*tiling.place(cut.plan, i, self.factor)) for cut, i in chosen]),
            np.stack([cut.words for cut, _ in chosen]),
            tokens,
        )

    def _finished(self, restored: tiling.Strips, cut: Cut) -> np.ndarray:
        lq, small, settings = cut.large[: cut.size[0], : cut.size[1]], cut.small, cut.settings
        view = self.networks.spec.view
        color = settings.chosen.color or view.color
        grain = view.grain if settings.grain is None else settings.grain
        below = view.calm if settings.calm is None else settings.calm
        overshoot = view.overshoot if settings.overshoot is None else settings.overshoot
        bounds = Bounds(small, overshoot, lq.shape[:2]) if overshoot < FREE else None
        texture = view.plain if settings.plain is None else settings.plain
        deviation = view.edges if settings.edges is None else settings.edges
        film = view.film_grain if settings.film_grain is None else settings.film_grain
        size = lq.shape[1], lq.shape[0]
        calm = plainness.calm_places(small, below, *size) if below else None
        plain = plainness.plain_places(small, texture, *size) if texture else None
        edges = edges_of(small, deviation, *size) if deviation else None
        return finish.finished(
            restored,
            lq,
            color,
            grain,
            truncates=view.truncates,
            bounds=bounds,
            calm=calm,
            film_grain=film_grain_of(settings.seed, cut.name, film) if film else None,
            touches=[touch for touch in (plain, edges) if touch is not None],
            kind=small.dtype.type,
            let_go=restored.let_go,
        )

    def _plan_of(self, size: tuple[int, int], settings: Settings) -> tiling.Plan:
        """Tiles of a picture of that width and height, before anything of it is read."""
        size = settings.part(max(size[0], 1), max(size[1], 1))[2:]  # 0 where a head says nothing
        scale = max(1, settings.enlargement(*size))
        width, height = (max(side, SMALLEST) for side in size)
        width, height = views.enlarged_size(width, height, scale, self.networks.spec.view)
        return self.plan(height, width, settings.tile)

    def plan(self, height: int, width: int, tile: int) -> tiling.Plan:
        """Tiles of a picture to restore; one that fits into a smaller tile gets that one.

        One of several tiles gets those of three sizes that compute the fewest pixels: so few programs suffice.
        """
        if not tile:
            step = self.factor if self.runtime is None else self.grid  # a sampler of ONNX Runtime is made for tiles
            even = tuple(-(-n // step) * step for n in (height, width))
            return tiling.single(*even)
        if max(height, width) <= tile:
            side = next((t for t in TILES if max(height, width) <= t < tile), tile)
            return tiling.plan(height, width, (side, side), self.grid)
        plans = []
        for side in self.sides(tile):
            thin = [next((t for t in THIN if n <= t < side and t % self.grid == 0), side) for n in (height, width)]
            plans.append(tiling.plan(height, width, (thin[0], thin[1]), self.grid))
        return min(plans, key=lambda plan: plan.computed)  # of equals the largest tiles

    def sides(self, tile: int) -> list[int]:
        """Of the tiles that pictures larger than `tile` are cut into: that one, and somewhat smaller ones."""
        least = max(SMALLEST_TILE, self.networks.spec.view.smallest_output)
        return [tile, *(side for part in (7, 6) if (side := tile * part // 8 // 64 * 64) >= least)]

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

    def _noise(self, settings: Settings, name: str) -> noise.Field:
        channels, fields = self.networks.spec.unet.out_channels, self._sampling(settings).noise_fields
        return noise.Field(noise.key_of(settings.seed, name), fields, channels, noise.BLOCK // self.factor)


def _as_array(image: np.ndarray | Image.Image) -> np.ndarray:
    """uint8 or uint16 [H, W, 3]; Pillow's by the rules that files are read by."""
    if isinstance(image, Image.Image):
        return pictures.from_pillow(image)
    if not isinstance(image, np.ndarray | jax.Array):
        raise UserError(f'an image is an array or an image of Pillow here, not {type(image).__name__}')
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f'an image is uint8 or uint16 [H, W, 3], not {image.dtype} {list(image.shape)}')
    return image
