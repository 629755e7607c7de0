"""The two samplers: AddSR's few steps with prediction-based self-refinement, and SeeSR's many ancestral steps.

Both are pure functions of (denoiser, params, inputs, sampling), noise included, and scan over their steps, so that any
number of steps compiles the networks once. `params` is {part: tree} with 'autoencoder', 'text_encoder',
'prompt_extractor' and the denoiser's part.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from addsr_jax.diffusion import schedule
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, stack, to_unit
from addsr_jax.diffusion.methods import Method
from addsr_jax.diffusion.windows import WHOLE, Windows
from addsr_jax.networks.build import Networks
from addsr_jax.trees import Tree


@dataclass(frozen=True)
class Sampling:
    """What a sampling program is compiled for; everything else about a picture is an input."""

    method: Method
    timesteps: tuple[int, ...]
    guided: bool = False  # classifier-free guidance (Ho & Salimans 2022): two evaluations a step in one batch
    start_point: str = 'lr'  # the first step begins at the noised latents of the small picture, or ('noise') at noise
    start_timestep: int | None = None  # ancestral: how far the small picture is noised; None: the last training step
    antithetic: bool = False  # refining: a step's prediction is the mean of two, under its noise and the negative of it
    windows: Windows = WHOLE  # how pictures too large for one pass are cut; by default not at all
    tiny_decoder: str = 'none'  # what the small decoder draws: nothing, all before the last ('steps'), or 'all'
    int8: bool = False  # whether UNet and ControlNet multiply eight bits

    def __post_init__(self) -> None:
        if self.antithetic and not self.method.refines:
            raise ValueError(f'method {self.method.name} has no antithetic steps')
        if self.start_timestep is not None and self.method.refines:
            raise ValueError(f'method {self.method.name} starts at its first timestep: start_timestep is of others')

    @classmethod
    def of(cls, method: Method, steps: int, training_steps: int, **options: Any) -> 'Sampling':
        """With the method's own timesteps for that many steps; `options` are the other fields."""
        if options.get('tiny_decoder') == 'steps' and not (method.refines and steps > 1):
            options['tiny_decoder'] = 'none'  # no picture comes before the last
        return cls(method, method.timesteps(steps, training_steps), **options)

    @property
    def noise_fields(self) -> int:
        return self.method.noise_fields(len(self.timesteps))


@struct.dataclass
class Inputs:
    """What a sampler works on: arrays and numbers that a compiled program takes."""

    lq: jax.Array  # [B, H, W, 3] in [-1, 1] at output size; sides divide by what autoencoder and UNet divide by
    tokens: jax.Array  # [B, 77] of the prompt
    noise: jax.Array  # [noise_fields, B, h, w, C]
    negative_tokens: jax.Array | None = None  # [B, 77], with guidance
    guidance_scale: jax.Array | float = 1.0
    psr_weight: jax.Array | float = 0.0  # refining: share of the last prediction in the next condition
    conditioning_scale: jax.Array | float = 1.0  # of the ControlNet's residuals
    image_tokens: jax.Array | None = None  # [B, 1 + n, I] of another form of the picture (the small file); None: of lq


def sample(networks: Networks, sampling: Sampling, params: Tree, inputs: Inputs) -> jax.Array:
    """Images [B, H, W, 3] in [-1, 1] by the method of `sampling`."""
    return sample_by(Denoiser(networks, sampling.method.part, sampling.windows), sampling, params, inputs)


def sample_by(model: Denoiser, sampling: Sampling, params: Tree, inputs: Inputs) -> jax.Array:
    """`sample` by a denoiser of the method's part."""
    return (addsr if sampling.method.refines else seesr)(model, params, inputs, sampling)


@struct.dataclass
class Begun:
    """What all steps of AddSR's sampler have in common."""

    inputs: Inputs
    low: jax.Array  # [B, H, W, 3], lq in [0, 1]
    text: jax.Array  # [B, 77, T]
    negative_text: jax.Array | None


@struct.dataclass
class State:
    """Where AddSR's sampler stands between two steps."""

    z0: jax.Array  # [B, h, w, C]
    prediction: jax.Array  # [B, H, W, 3] in [-1, 1]


@struct.dataclass
class At:
    """One of AddSR's steps; stacked, all of them."""

    t: jax.Array  # timestep
    noise: jax.Array  # [B, h, w, C]
    weight: jax.Array  # of the last prediction in the condition
    is_first: jax.Array  # bool


def addsr(model: Denoiser, params: Tree, inputs: Inputs, sampling: Sampling) -> jax.Array:
    """AddSR's sampler (section 3 of the paper; pipeline_addsr.py): one student step at each timestep.

    From the second step on the condition is psr_weight times the last prediction plus the rest of `lq`, and every step
    starts from the last prediction under fresh noise. Antithetic steps (not in the paper): what the network lets
    through of the noise cancels, and with it grain on flat areas; twice the evaluations.
    """
    begun, state = addsr_begin(model, params, inputs, sampling)

    def step(state: State, at: At) -> tuple[State, None]:
        return addsr_step(model, params, sampling, begun, state, at), None

    state, _ = model.scan(step, state, addsr_steps(sampling, inputs.noise, inputs.psr_weight))
    # steps of a scan are alike, so the small decoder has drawn the last one too, for nobody
    return model.decode(params, state.z0, inputs.lq) if sampling.tiny_decoder == 'steps' else state.prediction


def addsr_steps(sampling: Sampling, noise: Any, psr_weight: jax.Array | float) -> At:
    """All steps of AddSR's sampler, stacked; `noise` [1 + steps, B, h, w, C] are the fields of `Inputs`.

    One program does for all: the first is a step whose last "prediction" is E(lq) and whose weight is 0.
    """
    count = len(sampling.timesteps)
    weights = jnp.asarray([0.0] + [1.0] * (count - 1)) * psr_weight
    return At(jnp.asarray(sampling.timesteps, jnp.int32), noise[1:], weights, jnp.arange(count) == 0)


def addsr_begin(model: Denoiser, params: Tree, inputs: Inputs, sampling: Sampling) -> tuple[Begun, State]:
    """What comes before the first step; of the noise it takes the first field."""
    text, negative_text = _texts(model, params, inputs, sampling)
    low = to_unit(inputs.lq)
    z0 = model.encode(params, inputs.lq, inputs.noise[0])
    return Begun(inputs, low, text, negative_text), State(z0, inputs.lq)


def addsr_step(model: Denoiser, params: Tree, sampling: Sampling, begun: Begun, state: State, at: At) -> State:
    """One step; of `sampling` it takes no timestep."""
    inputs = begun.inputs
    t = jnp.broadcast_to(at.t, inputs.lq.shape[:1])
    z0, noise = state.z0, at.noise
    low = at.weight * to_unit(state.prediction) + (1 - at.weight) * begun.low
    condition = model.condition(params, low, begun.text)
    if inputs.image_tokens is not None:
        tokens = jnp.where(at.is_first, inputs.image_tokens, condition.image_tokens)
        condition = dataclasses.replace(condition, image_tokens=tokens)
    negative = begun.negative_text
    if sampling.antithetic:
        t, z0, noise = (jnp.concatenate(pair) for pair in ((t, t), (z0, z0), (noise, -noise)))
        condition = stack(condition, condition)
        negative = None if negative is None else jnp.concatenate([negative, negative])
    z = model.add_noise(z0, noise, t)
    if sampling.start_point == 'noise':
        z = jnp.where(at.is_first, noise, z)
    z0 = _guided(model, params, z, t, condition, negative, inputs)
    if sampling.antithetic:
        z0 = jnp.add(*jnp.split(z0, 2)) / 2
    whole = sampling.tiny_decoder == 'none'
    return State(z0, model.decode(params, z0, inputs.lq) if whole else model.decode_tiny(params, z0))


def seesr(model: Denoiser, params: Tree, inputs: Inputs, sampling: Sampling) -> jax.Array:
    """SeeSR's sampler (pipeline_seesr.py): ancestral DDPM from the noised low-quality latents, or from noise.

    The start is noised to `start_timestep`, by default the last training timestep although the grid begins below it,
    as published; the grid's timesteps above it are left out, and the last noise fields stay unused.
    """
    lq, noise = inputs.lq, inputs.noise
    text, negative_text = _texts(model, params, inputs, sampling)
    condition = model.condition(params, to_unit(lq), text)
    if inputs.image_tokens is not None:
        condition = dataclasses.replace(condition, image_tokens=inputs.image_tokens)
    training_steps = model.networks.spec.schedule.steps
    last = training_steps - 1 if sampling.start_timestep is None else sampling.start_timestep
    z = noise[1]
    if sampling.start_point == 'lr':
        z0 = model.encode(params, lq, noise[0])
        z = model.add_noise(z0, noise[1], jnp.full(lq.shape[:1], last))
    taken = tuple(t for t in sampling.timesteps if t <= last)
    table = schedule.ddpm_coefficients(model.abar, taken, len(sampling.timesteps))

    def step(z, x):
        t, step_noise, (to_z0, to_zt, deviation) = x
        t = jnp.broadcast_to(t, lq.shape[:1])
        z0 = _guided(model, params, z, t, condition, negative_text, inputs)
        return to_z0 * z0 + to_zt * z + deviation * step_noise, None

    coefficients = tuple(jnp.asarray(np.ascontiguousarray(c)) for c in table.T)
    steps = (jnp.asarray(taken, jnp.int32), noise[2 : 2 + len(taken)], coefficients)
    z, _ = model.scan(step, z, steps)
    return model.decode_tiny(params, z) if sampling.tiny_decoder == 'all' else model.decode(params, z, lq)


def _texts(model: Denoiser, params: Tree, inputs: Inputs, sampling: Sampling) -> tuple[jax.Array, jax.Array | None]:
    """The prompt embedded, and the negative prompt where there is guidance."""
    text = model.embed_text(params, inputs.tokens)
    if not sampling.guided:
        return text, None
    if inputs.negative_tokens is None:
        raise ValueError('guidance needs negative_tokens')
    return text, model.embed_text(params, inputs.negative_tokens)


def _guided(
    model: Denoiser,
    params: Tree,
    z: jax.Array,
    t: jax.Array,
    condition: Conditioning,
    negative_text: jax.Array | None,
    inputs: Inputs,
) -> jax.Array:
    """z0 under classifier-free guidance, e_negative + s (e_positive - e_negative).

    z0 is affine in the network's answer, so guiding either is the same.
    """
    if negative_text is None:
        return model.predict_z0(params, z, t, condition, inputs.conditioning_scale)
    both = stack(dataclasses.replace(condition, text=negative_text), condition)
    z0 = model.predict_z0(params, jnp.concatenate([z, z]), jnp.concatenate([t, t]), both, inputs.conditioning_scale)
    negative, positive = jnp.split(z0, 2)
    return negative + inputs.guidance_scale * (positive - negative)
