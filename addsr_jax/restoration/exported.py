"""The sampler of a model with its weights, as one file that other programs run: by jax alone, or as ONNX.

An artefact of jax is a zip archive of `addsr.json` (what it is), `program.bin` (StableHLO for one or more platforms, by
jax.export) and `weights.safetensors`. Both kinds take lq [B, H, W, 3] in [-1, 1], the enlarged picture, and noise
[B, N, h, w, C] of the normal distribution, and give [B, H, W, 3]. Prompts and settings are part of the artefact.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from addsr_jax import atomic, json_file, options, trees
from addsr_jax.diffusion import sampler
from addsr_jax.errors import UserError, printable
from addsr_jax.restoration import program
from addsr_jax.restoration.device_model import DeviceModel
from addsr_jax.restoration.flat import flattened
from addsr_jax.restoration.settings import Settings
from addsr_jax.trees import Tree

ABOUT, PROGRAM, WEIGHTS = 'addsr.json', 'program.bin', 'weights.safetensors'
ANY = 'batch'  # the name of a batch of any size


@dataclass(frozen=True)
class Sampled:
    """A sampler with all that is not a picture's own fixed, and the shapes of what it takes."""

    run: Callable[[Tree, jax.Array, jax.Array], jax.Array]
    params: Tree
    about: dict[str, Any]

    def shapes(self, batch: Any) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """Of lq and noise. batch: a number, or a dimension of `jax.export`."""
        lq, noise = ((batch, *self.about[name]) for name in ('lq', 'noise'))
        return jax.ShapeDtypeStruct(lq, jnp.float32), jax.ShapeDtypeStruct(noise, jnp.float32)


def sampled(model: DeviceModel, settings: Settings, size: tuple[int, int]) -> Sampled:
    """For tiles of (height, width) output pixels. UserError where the weights or the settings need more than a tile."""
    if model.networks.spec.view.tokens_of == 'file':
        raise UserError('these weights look at the whole file beside each tile: artefacts of them are not made')
    height, width = size
    if height % model.grid or width % model.grid:
        raise UserError(f'a tile is {height} x {width}: its sides must be multiples of {model.grid}')
    chosen, params = model.sampling_and_params(settings)
    words, scalars = jnp.asarray(model.words(settings)), model.scalars(settings)

    def run(params: Tree, lq: jax.Array, noise: jax.Array) -> jax.Array:
        tokens = jnp.broadcast_to(words[None], (lq.shape[0], *words.shape))
        inputs = program.inputs({'lq': lq, 'noise': noise, 'tokens': tokens}, scalars)
        return sampler.sample(model.networks, chosen, params, inputs)

    about = {
        'method': settings.method,
        'steps': len(chosen.timesteps),
        'size': model.networks.spec.name,
        'lq': [height, width, 3],
        'noise': [chosen.noise_fields, *(n // model.factor for n in size), model.networks.spec.unet.out_channels],
    }
    return Sampled(run, jax.tree.map(np.asarray, params), about)


def write(made: Sampled, path: Path, platforms: Sequence[str], batch: int | None) -> None:
    """An artefact of jax. batch: of pictures in a call; None: any number of them."""
    from safetensors.numpy import save

    size = jax_export.symbolic_shape(ANY)[0] if batch is None else batch
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), made.params)
    exporting = jax_export.export(jax.jit(made.run), platforms=platforms)
    exported = exporting(shapes, *made.shapes(size))
    about = {**made.about, 'batch': batch, 'platforms': list(platforms), 'jax': jax.__version__}
    entries = {
        ABOUT: json.dumps(about, indent=1).encode(),
        PROGRAM: bytes(exported.serialize()),
        WEIGHTS: save({name: np.ascontiguousarray(leaf) for name, leaf in trees.flatten(made.params).items()}),
    }

    def how(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, 'w', zipfile.ZIP_STORED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    atomic.write(path, how)


@dataclass(frozen=True)
class Artefact:
    """What `write` wrote, on the devices of this process: call it with lq and noise."""

    about: dict[str, Any]
    params: Tree
    run: Callable[[Tree, Any, Any], jax.Array]

    def __call__(self, lq: Any, noise: Any) -> jax.Array:
        """lq [B, H, W, 3] in [-1, 1], noise [B, N, h, w, C], both float32 -> [B, H, W, 3]; UserError for others."""
        batch = self.about['batch'] or max([1, *np.shape(lq)[:1]])
        for name, array in (('lq', lq), ('noise', noise)):
            wanted, found = [batch, *self.about[name]], list(np.shape(array))
            if found != wanted:
                shape = ', '.join(map(str, [wanted[0] if len(found) == len(wanted) else 'B', *wanted[1:]]))
                raise UserError(f'{name} is {found}, and this artefact takes [{shape}]')
            kind = getattr(array, 'dtype', type(array).__name__)
            if kind != np.float32:
                raise UserError(f'{name} is of {kind}, and this artefact takes arrays of float32')
        return self.run(self.params, lq, noise)


def load(path: str | Path) -> Artefact:
    """An artefact of jax; UserError where it is damaged or for other platforms. Only open those that you trust."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as tensors

    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            content = {name: archive.read(name) for name in (ABOUT, PROGRAM, WEIGHTS)}
        about = json_file.of_text(content[ABOUT].decode())
        _check(about)
        params = trees.unflatten(tensors(content[WEIGHTS]))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, UserError, SafetensorError) as error:
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f'{path} is no artefact of addsr export, or is damaged ({reason}): export it again') from error
    here = jax_export.default_export_platform()
    if here not in about['platforms']:
        others = ', '.join(about['platforms'])
        raise UserError(f'{path} is for {others} and this is {here}: export it again with --platforms {here}')
    try:
        exported = jax_export.deserialize(bytearray(content[PROGRAM]))
    except Exception as error:  # of flatbuffers and MLIR, at bytes that are no program
        raise UserError(f'{path} holds no program that jax {jax.__version__} reads: export it again') from error
    return Artefact(about, jax.device_put(params), jax.jit(exported.call))


def _check(about: dict[str, Any]) -> None:
    """KeyError or UserError where it does not say what `Artefact` and `load` ask of it."""
    if not options.typed(tuple[str, ...], about['platforms'], 'platforms'):
        raise UserError('platforms is empty')
    for name, length in (('lq', 3), ('noise', 4)):
        sizes = options.typed(tuple[int, ...], about[name], name)
        if len(sizes) != length or min(sizes) < 1:
            raise UserError(f'{name} is {list(sizes)}, which is no shape of one')
    batch = options.typed(int | None, about['batch'], 'batch')
    if batch is not None and batch < 1:
        raise UserError(f'batch is {batch}')


def write_onnx(made: Sampled, path: Path, batch: int) -> None:
    content = onnx_model(made, batch).SerializeToString()
    atomic.write(path, lambda temporary: temporary.write_bytes(content))


def onnx_model(made: Sampled, batch: int) -> Any:
    """ONNX with the weights inside; its inputs are called lq and noise, its output image."""
    import jax2onnx
    import onnx

    function = flattened(lambda lq, noise: made.run(made.params, lq, noise), *made.shapes(batch))
    shapes = list(made.shapes(batch))
    try:
        model = jax2onnx.to_onnx(function, shapes, input_names=['lq', 'noise'], output_names=['image'])
    except Exception as error:  # whatever it raises at a primitive that it does not know
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f'jax2onnx cannot convert this sampler ({reason}): export it as .zip, for jax') from error
    assert isinstance(model, onnx.ModelProto)
    return model
