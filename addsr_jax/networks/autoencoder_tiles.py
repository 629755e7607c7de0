"""The autoencoder over a picture of any size, tile by tile, on a device that holds one tile: equal to the whole.

A tile sees as much around it as its result depends on, and the border of the picture where that is. What of a network
looks at the whole picture stands between stretches that do not:

- group norms: a stretch is run over all tiles until their statistics are those of the picture (`tile_norms`).
- the attention in the middle: queries of one part of the picture meet keys of one part after the other.

Between stretches the picture's features lie in the machine's memory, at the size of the latents.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.networks.autoencoder import (
    Autoencoder,
    SingleHeadAttention,
    depth_to_space,
    enlargements,
    space_to_depth,
)
from addsr_jax.networks.build import apply
from addsr_jax.networks.layers import GroupNorm
from addsr_jax.networks.tile_norms import Norms, Statistics, settle
from addsr_jax.ops.attention import no_keys, with_keys
from addsr_jax.runtime import compiled_bytes, compiler_options
from addsr_jax.specs import AutoencoderSpec
from addsr_jax.trees import Tree

TOKENS = 4096  # of queries, and of keys, that meet at a time

Path = tuple[str, ...]


@dataclass(frozen=True)
class Stretch:
    """A part of a network that sees only what is near.

    `begins` takes what is given in place of its input; the middle's attention instead takes the features in front of it
    beside what they see in each other, [..., 2 C]. None: the network's input. `ends` gives its input; None: the end.
    """

    begins: Path | None
    ends: Path | None
    reach: int  # latents around a place that its result depends on


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in latents: what it sees, and what it gives."""

    sees: tuple[int, int]
    gives: tuple[int, int]


def spans(length: int, side: int, reach: int) -> list[Span]:
    """Tiles that see side + 2 reach latents each, or all there are, spread evenly."""
    seen = min(side + 2 * reach, length)
    count = 1 if seen == length else math.ceil((length - 2 * reach) / side)
    starts = [round(i * (length - seen) / max(count - 1, 1)) for i in range(count)]
    borders = [0, *(start + reach for start in starts[1:]), length]
    return [Span((start, start + seen), (borders[i], borders[i + 1])) for i, start in enumerate(starts)]


def stretches(spec: AutoencoderSpec, method: str) -> list[Stretch]:
    """Of 'moments' or 'decode': cut at the attention, and where features leave the size of the latents."""
    if method == 'decode' and spec.guided_blocks:
        sizes = np.cumprod([1, *enlargements(spec)])  # each convolution sees a number of its own size further
        return [Stretch(None, None, 1 + 2 * spec.guided_blocks + math.ceil((1 / sizes).sum()))]
    found, begins, reach = [], None, 0
    for step, following in (_encoder if method == 'moments' else _decoder)(spec):
        reach += step
        if following is not None:
            found.append(Stretch(begins, following, reach))
            begins, reach = following, 0
    return [*found, Stretch(begins, None, reach)]


def _encoder(spec: AutoencoderSpec) -> list[tuple[int, Path | None]]:
    """(reach, the layer that comes next, where there is to be a cut)."""
    last, blocks, head = len(spec.block_out_channels) - 1, 2 * spec.layers_per_block, 0
    for _ in range(last):  # a convolution of stride 2 sees the two pixels after its own
        head = 2 * head + 2 + blocks
    level = ('encoder', f'down_blocks_{last}') if last else None
    return [(math.ceil((head + 1) / 2**last), level), (blocks + 2, attention_in('moments', spec)), (3, None)]


def _decoder(spec: AutoencoderSpec) -> list[tuple[int, Path | None]]:
    last, blocks, tail = len(spec.block_out_channels) - 1, 2 * (spec.layers_per_block + 1), 1
    for _ in range(last):  # one convolution follows the enlargement
        tail = math.ceil((tail + blocks + 1) / 2)
    up = ('decoder', 'up_blocks_0', 'upsamplers_0') if last else None
    return [(3, attention_in('decode', spec)), (2 + blocks, up), (tail, None)]


def attention_in(method: str, spec: AutoencoderSpec) -> Path | None:
    """The path of the middle's attention, if there is one."""
    half = 'encoder' if method == 'moments' else 'decoder'
    return (half, 'mid_block', 'attentions_0') if spec.mid_attention else None


@dataclass(frozen=True)
class Program:
    """A compiled stretch for tiles of one size."""

    run: Callable[..., Any]  # (params, tile, statistics, what the tile gives, whether its own) -> (result, statistics)
    out: jax.ShapeDtypeStruct
    norms: Statistics  # zeros
    bytes: int  # on a device, beside the weights


@dataclass(frozen=True)
class Tiles:
    """Runs an autoencoder tile by tile; programs depend on the tiles' size alone. Arrays come and go as numpy's."""

    module: Autoencoder
    side: int  # latents that a tile gives along an axis
    mesh: Mesh
    programs: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    passes: list[int] = field(default_factory=list, repr=False, compare=False)  # of the last run, by stretch

    def moments(self, params: Tree, images: np.ndarray) -> np.ndarray:
        """`Autoencoder.moments` of images [B, H, W, 3]."""
        return self._run('moments', params, np.asarray(images), self.module.spec.factor)

    def decode(self, params: Tree, latents: np.ndarray, picture: np.ndarray | None = None) -> np.ndarray:
        """`Autoencoder.decode` of latents [B, h, w, C]; a guided decoder sees the low-quality `picture`."""
        given, spec = np.asarray(latents), self.module.spec
        if spec.guided_blocks:
            beside: Any = np.asarray(picture)
            given = np.concatenate([given, space_to_depth(beside, spec.factor)], axis=-1)
        return self._run('decode', params, given, 1)

    def _run(self, method: str, params: Tree, given: np.ndarray, scale: int) -> np.ndarray:
        """scale: numbers of `given` for a latent along an axis."""
        attention = attention_in(method, self.module.spec)
        self.passes.clear()
        for stretch in stretches(self.module.spec, method):
            if attention is not None and stretch.begins == attention:
                projected = self._through('projected', Stretch(attention, None, 0), params, given, 1)
                given = np.concatenate([given, self._attended(projected)], axis=-1)
            given = self._through(method, stretch, params, given, scale)
            scale = 1
        return given.astype(np.float32)

    def _through(self, method: str, stretch: Stretch, params: Tree, given: np.ndarray, scale: int) -> np.ndarray:
        """A stretch over the whole picture."""
        height, width = (n // scale for n in given.shape[1:3])
        tiles = list(itertools.product(*(spans(n, self.side, stretch.reach) for n in (height, width))))
        size = (tiles[0][0].sees[1] - tiles[0][0].sees[0], tiles[0][1].sees[1] - tiles[0][1].sees[0])
        shape = (given.shape[0], size[0] * scale, size[1] * scale, given.shape[3])
        program = self.program(method, stretch, params, jax.ShapeDtypeStruct(shape, given.dtype), size)
        times = program.out.shape[1] // size[0]  # numbers of the result for a latent
        result = np.empty((shape[0], height * times, width * times, program.out.shape[3]), program.out.dtype)

        def gathered(number: int, used: Statistics, own: bool) -> tuple[int, Statistics]:
            """How many latents a tile gives, and their statistics; its part of the result is put there."""
            rows, columns = tiles[number]
            (top, bottom), (left, right) = rows.gives, columns.gives
            y, x = rows.sees[0], columns.sees[0]
            core = np.asarray([[top - y, bottom - y], [left - x, right - x]], np.int32)
            tile = given[:, _times(scale, *rows.sees), _times(scale, *columns.sees)]
            out, measured = program.run(params, tile, used, core, np.float32(own))
            part = np.asarray(out)[:, _times(times, *core[0]), _times(times, *core[1])]
            result[:, _times(times, top, bottom), _times(times, left, right)] = part
            return (bottom - top) * (right - left), jax.device_get(measured)

        self.passes.append(settle(program.norms, len(tiles), gathered))
        return result

    def held(self, batch: int, height: int, width: int) -> int:
        """Bytes of the machine's memory, at most, for what lies between the stretches."""
        spec = self.module.spec
        copies = 7 if spec.mid_attention else 2  # features, what they are projected to, what they see, and a result
        return copies * batch * height * width * spec.block_out_channels[-1] * jnp.dtype(self.module.dtype).itemsize

    def needs(self, method: str, params: Tree, batch: int, height: int, width: int) -> int:
        """Bytes of a device beside the weights, at most, for that many latents, by the compiler's plan."""
        spec, sizes = self.module.spec, []
        scale, channels = (spec.factor, spec.image_channels) if method == 'moments' else (1, spec.latent_channels)
        if method == 'decode' and spec.guided_blocks:
            channels += spec.image_channels * spec.factor**2
        given = (scale, channels, jnp.float32)
        for stretch in stretches(spec, method):
            size = (min(self.side + 2 * stretch.reach, height), min(self.side + 2 * stretch.reach, width))
            scale, channels, dtype = given
            if stretch.begins is not None and stretch.begins == attention_in(method, spec):
                channels *= 2
            tile = jax.ShapeDtypeStruct((batch, size[0] * scale, size[1] * scale, channels), dtype)
            program = self.program(method, stretch, params, tile, size)
            sizes.append(program.bytes)
            given = (1, program.out.shape[-1], program.out.dtype)
        return max(sizes)

    def program(
        self, method: str, stretch: Stretch, params: Tree, tile: jax.ShapeDtypeStruct, size: tuple[int, int]
    ) -> Program:
        """The stretch for tiles of a shape, which are of `size` latents."""
        key = (method, stretch, tile.shape, tile.dtype)
        if key not in self.programs:
            seen = partial(see, self.module, method, stretch, size)
            core = jax.ShapeDtypeStruct((2, 2), jnp.int32)
            own = jax.ShapeDtypeStruct((), jnp.float32)
            out, norms = jax.eval_shape(seen, params, tile, {}, core, own)
            spread = tile.shape[0] % self.mesh.size == 0
            place = sharding.batch_sharding(self.mesh) if spread else sharding.replicated(self.mesh)
            tile = jax.ShapeDtypeStruct(tile.shape, tile.dtype, sharding=place)
            run, memory = self._compiled(seen, _shapes(params), tile, norms, core, own)
            zeros = {name: np.zeros(norm.shape, np.float32) for name, norm in norms.items()}
            self.programs[key] = Program(run, out, zeros, memory + math.prod(tile.shape) * tile.dtype.itemsize)
        return self.programs[key]

    def _compiled(self, function: Callable[..., Any], *shapes: Any) -> tuple[Callable[..., Any], int]:
        """(program, bytes of what it makes)."""
        run = jax.jit(function, compiler_options=compiler_options(self.mesh)).lower(*shapes).compile()
        return run, compiled_bytes(run)

    def _attended(self, projected: np.ndarray) -> np.ndarray:
        """q, k and v side by side, [B, h, w, 3 C] -> attention over the whole picture, [B, h, w, C]."""
        b, h, w, c = projected.shape
        tokens, c = projected.reshape(b, 1, h * w, c), c // 3
        size = min(TOKENS, h * w)
        blocks = range(0, h * w, size)
        start, add, end = self._meeting(b, size, c, projected.dtype)
        result = np.empty((b, h * w, c), projected.dtype)
        for first in blocks:
            q = _block(tokens, first, size)[..., :c]
            sums = start(q)
            for other in blocks:
                keys = _block(tokens, other, size)
                sums = add(sums, q, keys[..., c : 2 * c], keys[..., 2 * c :], np.arange(size) < h * w - other)
            result[:, first : first + size] = np.asarray(end(sums))[:, 0, : h * w - first]
        return result.reshape(b, h, w, c)

    def _meeting(self, *shape: Any) -> tuple[Callable[..., Any], ...]:
        """Programs that begin sums over keys, add some, and end them."""
        if shape not in self.programs:
            b, size, c, dtype = shape
            seen = jax.ShapeDtypeStruct((size,), jnp.bool_)
            q = jax.ShapeDtypeStruct((b, 1, size, c), dtype)
            sums = jax.eval_shape(no_keys, q)
            self.programs[shape] = (
                self._compiled(no_keys, q)[0],
                self._compiled(with_keys, sums, q, q, q, seen)[0],
                self._compiled(lambda sums: (sums[2] / sums[1][..., None]).astype(dtype), sums)[0],
            )
        return self.programs[shape]


def see(
    module: Autoencoder,
    method: str,
    stretch: Stretch,
    size: tuple[int, int],
    params: Tree,
    tile: jax.Array,
    used: dict[str, jax.Array],
    core: jax.Array,
    own: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """(what a stretch makes of a tile of `size` latents, statistics of its norms over `core`, what the tile gives).

    used: the statistics that it works with; where `own` is 1, or there are none, its own.
    """
    spec, norms, found = module.spec, Norms(used, core, own, size), []
    within = stretch.begins is None or method == 'projected'

    def call(layer_call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal within
        layer = context.module
        if context.method_name != '__call__':
            return layer_call(*args, **kwargs)
        if layer.path == stretch.begins:
            within = True
            if not isinstance(layer, SingleHeadAttention):
                return layer_call(tile)
            x, attended = jnp.split(tile, 2, axis=-1)
            return layer.added(x, attended.reshape(x.shape[0], -1, 1, x.shape[-1]))
        if layer.path == stretch.ends:
            found.append(args[0])
            within = False
        if within and isinstance(layer, GroupNorm):
            return norms(layer, args[0])
        return layer_call(*args, **kwargs)

    with nn.intercept_methods(call):
        if method == 'projected':
            own_params = params
            for name in stretch.begins or ():
                own_params = own_params[name]
            parts = apply(SingleHeadAttention(spec, module.dtype), own_params, tile, method='projected')
            out = jnp.concatenate(parts, axis=-1).reshape(*tile.shape[:3], -1)
        else:
            out = apply(module, params, *_inputs(spec, method, stretch, size, tile), method=method)
    return (found[0] if found else out), norms.measured


def _inputs(
    spec: AutoencoderSpec, method: str, stretch: Stretch, size: tuple[int, int], tile: jax.Array
) -> tuple[jax.Array, ...]:
    """What the network takes; where a stretch begins further on, nothing depends on it and it is not computed."""
    if stretch.begins is not None:
        scale, channels = (spec.factor, spec.image_channels) if method == 'moments' else (1, spec.latent_channels)
        return (jnp.zeros((tile.shape[0], size[0] * scale, size[1] * scale, channels)),)
    if method == 'decode' and spec.guided_blocks:
        latents, picture = jnp.split(tile, [spec.latent_channels], axis=-1)
        return latents, depth_to_space(picture, spec.factor)
    return (tile,)


def _times(factor: int, first: int, end: int) -> slice:
    return slice(factor * int(first), factor * int(end))


def _block(tokens: np.ndarray, first: int, size: int) -> np.ndarray:
    """`size` of the tokens [B, 1, N, C], with zeros after the last."""
    part = tokens[:, :, first : first + size]
    return np.pad(part, ((0, 0), (0, 0), (0, size - part.shape[2]), (0, 0)))


def _shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, 'sharding', None)), tree)
