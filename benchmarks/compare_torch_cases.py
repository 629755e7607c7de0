"""The work that `compare_torch` compares, ours and PyTorch's, of random weights: networks and a sampler."""

import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.sharding import Mesh

from addsr_jax import sizes
from addsr_jax.diffusion import sampler
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser
from addsr_jax.diffusion.methods import STUDENT
from addsr_jax.diffusion.sampler import Inputs, Sampling
from addsr_jax.networks.build import apply, build
from addsr_jax.networks.unet import UNet
from addsr_jax.ops.attention import chosen
from addsr_jax.runtime import compiler_options
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params
from benchmarks import torch_networks
from benchmarks.side_by_side import Case
from benchmarks.torch_model import Condition, Model, Place

PARTS = ('autoencoder', 'text_encoder', 'prompt_extractor', 'student')
HALF = dataclasses.replace(sizes.SD2.unet, block_out_channels=(160, 320, 640, 640), heads=(5, 5, 10, 10))


@dataclass(frozen=True)
class Setting:
    """What both compute on and in."""

    mesh: Mesh
    dtype: Any
    compiles: bool  # whether torch.compile is a form, too

    @property
    def kernel(self) -> str:
        return chosen('auto', self.mesh.devices.flat[0], self.dtype)

    @property
    def places(self) -> dict[str, Place]:
        device = 'cuda' if self.mesh.devices.flat[0].platform == 'gpu' else 'cpu'
        dtype = getattr(torch, np.dtype(self.dtype).name)
        forms = {'eager': Place(device, dtype), 'channels_last': Place(device, dtype, channels_last=True)}
        # what compiled programs are best laid out as, by the device
        return forms | ({'compiled': Place(device, dtype, channels_last=device == 'cuda')} if self.compiles else {})

    def described(self) -> str:
        device = self.mesh.devices.flat[0]
        cores = len(os.sched_getaffinity(0))
        return (
            f'{device.device_kind}, {cores} cores, {np.dtype(self.dtype).name}, jax {jax.__version__}, '
            f'torch {torch.__version__} with {torch.get_num_threads()} threads'
        )

    def case(self, name: str, ours: Callable[..., Any], given: tuple[Any, ...], theirs: Callable[[Place], Any]) -> Case:
        """ours: of `given`, compiled here. theirs: of a place, a function without arguments."""
        program = jax.jit(ours, compiler_options=compiler_options(self.mesh)).lower(*given).compile()
        forms = {form: partial(in_torch, self.form(form, theirs(place))) for form, place in self.places.items()}
        return Case(name, lambda: answer(program(*given)), forms)

    def form(self, name: str, run: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        return torch.compile(run) if name == 'compiled' else run


def answer(x: jax.Array) -> np.ndarray:
    """float32 of what is there."""
    return np.asarray(jax.block_until_ready(x), np.float32)


def in_torch(run: Callable[[], torch.Tensor]) -> np.ndarray:
    with torch.no_grad():
        x = run().float().cpu()
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def random_model(spec: ModelSpec, dtype: Any, parts: tuple[str, ...] = PARTS) -> Tree:
    """On the device, in a type."""
    return jax.device_put(random_params(bundles.expected(spec, list(parts)), dtype))


def of_documents(setting: Setting) -> Iterator[Case]:
    """What docs/performance.md shows."""
    from benchmarks.compare_torch_step import train_step

    params = random_model(sizes.NANO, setting.dtype)
    yield autoencoder(setting, sizes.NANO, params, 512)
    for wanted in networks(
        setting, sizes.SD2, random_model(sizes.SD2, setting.dtype, ('autoencoder',)), 256, ('decoder',)
    ):
        yield dataclasses.replace(wanted, name="SD-2's decoder, 256 pixels")
    yield half_unet(setting)
    yield whole_sampler(setting, sizes.NANO, params, 512)
    yield train_step(setting)


def of_size(setting: Setting, size: str, side: int) -> Iterator[Case]:
    """Every network of a size for pictures of `side`, the dearest first."""
    spec = sizes.MODELS[size]
    names = ('decoder', 'UNet and ControlNet', 'prompt extractor', 'encoder', 'text encoder')
    yield from networks(setting, spec, random_model(spec, setting.dtype), side, names)


def autoencoder(setting: Setting, spec: ModelSpec, params: Tree, side: int) -> Case:
    model, picture = Denoiser(build(spec, setting.dtype, setting.kernel)), drawn(1, side, side, 3)

    def ours(own: Tree, images: jax.Array) -> jax.Array:
        return model.decode(own, model.encode(own, images, jnp.zeros(())), images)

    def theirs(place: Place) -> Callable[[], torch.Tensor]:
        twin, x = Model(spec, {'autoencoder': params['autoencoder']}, place), place.put(picture)
        return lambda: twin.decode(twin.encode(x))

    return setting.case(f"{spec.name}'s autoencoder, {side} pixels", ours, (params, picture), theirs)


def half_unet(setting: Setting) -> Case:
    module = UNet(HALF, setting.dtype, setting.kernel)
    z, words, seen = drawn(1, 64, 64, 4), drawn(1, 77, HALF.text_dim), drawn(1, 145, HALF.image_dim or 1)
    t = np.array([999], np.int32)
    given = (z, t, words, seen)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *given)['params']
    params = jax.device_put(random_params(shapes, setting.dtype))

    def theirs(place: Place) -> Callable[[], torch.Tensor]:
        w, inputs = place.weights('unet', params), [place.put(x) for x in given]
        cast = [x.to(place.dtype) if x.is_floating_point() else x for x in inputs]
        return lambda: torch_networks.unet(w, HALF, *cast)

    return setting.case("SD-2's UNet, half as wide, 64 x 64 latents", partial(apply, module), (params, *given), theirs)


def whole_sampler(setting: Setting, spec: ModelSpec, params: Tree, side: int) -> Case:
    sampling = Sampling.of(STUDENT, 1, spec.schedule.steps)
    latent, c = side // spec.autoencoder.factor, spec.autoencoder.latent_channels
    lq, noise, ids = drawn(1, side, side, 3), drawn(2, 1, latent, latent, c, seed=1), np.zeros((1, 77), np.int32)
    whole = build(spec, setting.dtype, setting.kernel)

    def ours(own: Tree, lq: jax.Array, ids: jax.Array, noise: jax.Array) -> jax.Array:
        return sampler.sample(whole, sampling, own, Inputs(lq=lq, tokens=ids, noise=noise))

    def theirs(place: Place) -> Callable[[], torch.Tensor]:
        twin, fields = Model(spec, params, place), [place.put(field) for field in noise]
        return partial(twin.sample, place.put(lq), place.put(ids), fields, sampling.timesteps, 0.0)

    return setting.case(f"{spec.name}'s sampler, one step, {side} pixels", ours, (params, lq, ids, noise), theirs)


def networks(setting: Setting, spec: ModelSpec, params: Tree, side: int, names: tuple[str, ...]) -> Iterator[Case]:
    """Single networks, at batch 1."""
    model, latent = Denoiser(build(spec, setting.dtype, setting.kernel)), side // spec.autoencoder.factor
    size = spec.prompt_extractor.swin
    count = 1 + (size.image_size // size.patch // 2 ** (len(size.depths) - 1)) ** 2
    picture, z = drawn(1, side, side, 3), drawn(1, latent, latent, spec.autoencoder.latent_channels)
    t, ids = np.array([999], np.int32), np.zeros((1, 77), np.int32)
    words, seen = drawn(1, 77, spec.unet.text_dim), drawn(1, count, spec.unet.image_dim or 1)
    beside = z if model.takes_condition_latents else None
    twins = {place: Model(spec, params, place) for place in setting.places.values()}
    parts = {'UNet and ControlNet': 'student', 'encoder': 'autoencoder', 'decoder': 'autoencoder'}

    def ours_of(own: Tree, z: jax.Array, t: jax.Array, *conditions: Any) -> jax.Array:
        image, seen, words, latents = conditions
        return model.network_output(own, z, t, Conditioning(image, seen, words, latents))

    def denoiser(twin: Model, place: Place) -> Callable[[], torch.Tensor]:
        image, x, late = (place.put(value) for value in (picture, z, t))
        tokens, text = (place.put(value).to(place.dtype) for value in (seen, words))
        condition = Condition(image, tokens, text, None if beside is None else x)
        return lambda: twin.answer('student', x, late, condition)

    def put(function: str, value: np.ndarray) -> Callable[[Model, Place], Callable[[], torch.Tensor]]:
        return lambda twin, place: partial(getattr(twin, function), place.put(value))

    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...], Callable[[Model, Place], Any]]] = {
        'decoder': (lambda own, z: model.decode(own, z, z), (z,), put('decode', z)),
        'UNet and ControlNet': (ours_of, (z, t, picture, seen, words, beside), denoiser),
        'prompt extractor': (model.embed_image, (picture,), put('embed_image', picture)),
        'encoder': (lambda own, x: model.encode(own, x, jnp.zeros(())), (picture,), put('encode', picture)),
        'text encoder': (model.embed_text, (ids,), put('embed_text', ids)),
    }
    for name in names:
        ours, given, theirs = calls[name]
        part = parts.get(name, name.replace(' ', '_'))
        own = {part: params[part]}  # the others would be looked through at each call
        yield setting.case(name, ours, (own, *given), lambda place, made=theirs: made(twins[place], place))
