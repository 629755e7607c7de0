"""The compiled sampling of a batch of tiles: one program for each `Sampling` and shape, lowered from shapes alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.sharding import Mesh

from addsr_jax import keep, sharding, trees
from addsr_jax.diffusion import sampler
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, to_unit
from addsr_jax.diffusion.methods import METHODS, Method
from addsr_jax.diffusion.sampler import At, Begun, Inputs, Sampling, State
from addsr_jax.diffusion.stepwise import Stepwise
from addsr_jax.errors import UserError
from addsr_jax.networks.build import Networks, apply, build
from addsr_jax.networks.int8 import in_int8
from addsr_jax.ops.attention import chosen
from addsr_jax.runtime import compiled_bytes, compiler_options
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles

SHARED = ('autoencoder', 'text_encoder', 'prompt_extractor')


def parts(sampling: Sampling) -> tuple[str, ...]:
    """The parts of the parameters that a program takes."""
    return (*SHARED, sampling.method.part, *(() if sampling.tiny_decoder == 'none' else ('tiny_decoder',)))


def only_for(method: Method, held: Iterable[str]) -> set[str]:
    """Of the parts held those that no other method alone asks for; a UserError where its own is missing."""
    check_holds(method, held)
    return set(held) - ({other.part for other in METHODS.values()} - {method.part})


def check_holds(method: Method, held: Iterable[str]) -> None:
    """A UserError where weights of these parts lack the method's own."""
    if method.part not in held:
        raise UserError(
            f'these weights hold no {method.part}, which --method {method.name} needs: '
            f'they have {", ".join(sorted(held))}'
        )


def asked(networks: Networks, sampling: Sampling) -> Networks:
    """As the sampling wants them."""
    return in_int8(networks) if sampling.int8 else networks


def jitted(networks: Networks, sampling: Sampling, mesh: Mesh) -> Any:
    """(params, batch, scalars) -> images [B, H, W, 3], not yet compiled.

    batch: lq [B, H, W, 3], noise [B, N, h, w, C], tokens [B, 2, 77] (prompt, negative prompt), perhaps image_tokens.
    scalars: guidance_scale, psr_weight.
    """

    networks = asked(networks, sampling)

    def run(params: Tree, batch: dict[str, jax.Array], scalars: dict[str, Any]) -> jax.Array:
        return sampler.sample(networks, sampling, params, inputs(batch, scalars))

    return jax.jit(run, compiler_options=compiler_options(mesh))


def jitted_steps(networks: Networks, sampling: Sampling, mesh: Mesh) -> tuple[Any, Any]:
    """What `jitted` does in one call as two programs, not yet compiled: for methods that refine, any number of steps.

    begin: (params, batch, scalars) -> texts, State. step: (params, batch, scalars, texts, State, At) -> State. The
    batch is given anew, so that nobody has to hold those of many tiles; of its noise `begin` takes the first field.
    """
    model = Denoiser(asked(networks, sampling), sampling.method.part, sampling.windows)

    def begin(params: Tree, batch: dict[str, jax.Array], scalars: dict[str, Any]) -> tuple[Any, State]:
        begun, state = sampler.addsr_begin(model, params, inputs(batch, scalars), sampling)
        return (begun.text, begun.negative_text), state

    def step(params: Tree, batch: Any, scalars: dict[str, Any], texts: Any, state: State, at: At) -> State:
        begun = Begun(inputs(batch, scalars), to_unit(batch['lq']), *texts)
        return sampler.addsr_step(model, params, sampling, begun, state, at)

    options = compiler_options(mesh)
    return jax.jit(begin, compiler_options=options), jax.jit(step, compiler_options=options)


def stepwise(networks: Networks, sampling: Sampling, mesh: Mesh, programs: dict[Any, Any]) -> Stepwise:
    """The denoiser of a sampling whose autoencoder goes tile by tile; `programs` are shared with others."""
    return Stepwise(asked(networks, sampling), sampling.method.part, sampling.windows, mesh=mesh, programs=programs)


def run_stepwise(
    model: Stepwise, sampling: Sampling, params: Tree, batch: dict[str, Any], scalars: dict[str, Any]
) -> np.ndarray:
    """As a program of `jitted`, for arrays of numpy."""
    given = inputs(jax.tree.map(np.asarray, batch), scalars)
    return np.asarray(sampler.sample_by(model, sampling, params, given))


def needs_stepwise(model: Stepwise, sampling: Sampling, params: Tree, batch: int, height: int, width: int) -> int:
    """Bytes that `run_stepwise` takes at most beside the weights: of the devices, on CPU with what lies in memory."""
    spec, windows = model.networks.spec, model.windows
    factor = spec.autoencoder.factor
    latents = (height // factor, width // factor)
    found, held = [], 0
    for method, side in (('moments', windows.encoder // factor), ('decode', windows.decoder)):
        if side:
            tiles = model.tiles(side)
            found.append(tiles.needs(method, params['autoencoder'], batch, *latents))
            held = max(held, tiles.held(batch, *latents))
    seen = windows.shape(*latents) if windows.needed(*latents) else latents
    both = batch * (2 if sampling.guided else 1) * (2 if sampling.antithetic else 1)
    shape: Any = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)  # stands for an array
    z = shape((both, *seen, spec.unet.out_channels))
    conditioning = Conditioning(
        image=shape((both, seen[0] * factor, seen[1] * factor, 3)),
        image_tokens=shape(_image_tokens(model.networks, params['prompt_extractor'], both).shape),
        text=shape((both, spec.text_encoder.positions, spec.text_encoder.width)),
        latents=z if model.takes_condition_latents else None,
    )
    timesteps = jax.ShapeDtypeStruct((both,), jnp.int32)
    denoising: Any = model.jitted('network_output')
    found.append(compiled_bytes(denoising.lower(params, z, timesteps, conditioning, 1.0).compile()))
    picture = 4 * 3 * batch * height * width  # whole, where the prompt extractor makes its view of it
    on_cpu = model.mesh.devices.flat[0].platform == 'cpu'
    return max(found) + picture + (held + 3 * picture if on_cpu else 0)


def inputs(batch: dict[str, Any], scalars: dict[str, Any]) -> Inputs:
    return Inputs(
        lq=batch['lq'],
        tokens=batch['tokens'][:, 0],
        noise=batch['noise'].swapaxes(0, 1),
        negative_tokens=batch['tokens'][:, 1],
        guidance_scale=scalars['guidance_scale'],
        psr_weight=scalars['psr_weight'],
        image_tokens=batch.get('image_tokens'),
    )


def param_shapes(spec: ModelSpec, sampling: Sampling, dtype: Any) -> Tree:
    """Shapes of the weights that a program takes, in the dtype that it computes in."""
    return trees.retyped(bundles.expected(spec, list(parts(sampling))), dtype)


@dataclass(frozen=True)
class Shaped:
    """`jitted` for pictures of height x width, on a mesh that this machine need not have: nothing is allocated.

    dtype: of weights and compute; attention: its kernel; 'auto' is what the mesh's platform wants.
    """

    spec: ModelSpec
    sampling: Sampling
    mesh: Mesh
    batch: int
    height: int
    width: int
    dtype: str = 'auto'
    attention: str = 'auto'

    def trace(self) -> Any:
        """Not yet lowered."""
        run, shapes = self._call()
        with jax.set_mesh(self.mesh):
            return run.trace(*shapes)

    def compile(self) -> Any:
        """For one CPU what is traced is kept, as what is compiled is: tracing takes two seconds."""
        if self.mesh.size > 1 or self.mesh.devices.flat[0].platform != 'cpu':
            return self.trace().lower().compile()
        key = (self.sampling, self.batch, self.height, self.width, self.dtype, self.attention, self.spec)
        traced = jax_export.deserialize(bytearray(keep.kept('program', repr(key), self._export)))
        here = sharding.replicated(self.mesh)
        shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=here) for aval in traced.in_avals]
        arguments, _ = jax.tree.unflatten(traced.in_tree, shapes)
        return jax.jit(traced.call, compiler_options=compiler_options(self.mesh)).lower(*arguments).compile()

    def _export(self) -> bytes:
        run, shapes = self._call()
        return bytes(jax_export.export(run)(*shapes).serialize())

    def _call(self) -> tuple[Any, tuple[Any, ...]]:
        """`jitted`, and shapes of what it takes, in their places."""
        spec, mesh = self.spec, self.mesh
        kind = sharding.compute_dtype(mesh, self.dtype)
        networks = build(spec, kind, chosen(self.attention, mesh.devices.flat[0], kind))
        shapes = param_shapes(spec, self.sampling, kind)
        params = jax.tree.map(_placed, shapes, sharding.state_shardings(mesh, shapes))
        f, spread = spec.autoencoder.factor, sharding.batch_sharding(mesh)
        fields, channels = self.sampling.noise_fields, spec.unet.out_channels
        float32 = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
        arrays = {
            'lq': float32((self.batch, self.height, self.width, 3)),
            'noise': float32((self.batch, fields, self.height // f, self.width // f, channels)),
            'tokens': jax.ShapeDtypeStruct((self.batch, 2, spec.text_encoder.positions), jnp.int32),
        }
        if spec.view.tokens_of == 'file':
            arrays['image_tokens'] = _image_tokens(networks, shapes['prompt_extractor'], self.batch)
        batch = {name: _placed(array, spread) for name, array in arrays.items()}
        scalars = {'guidance_scale': 1.0, 'psr_weight': 0.0}
        return jitted(networks, self.sampling, mesh), (params, batch, scalars)


def _image_tokens(networks: Networks, params: Tree, batch: int) -> jax.ShapeDtypeStruct:
    """Of a batch of tiles, which all take those of their file."""
    side = networks.spec.prompt_extractor.swin.image_size
    image = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
    return jax.eval_shape(partial(apply, networks.prompt_extractor), params, image)


def _placed(shape: jax.ShapeDtypeStruct, place: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=place)
