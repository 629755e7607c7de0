"""The two samplers: AddSR's few steps with prediction-based self-refinement, and SeeSR's many ancestral steps.

Both are pure functions of their arguments, noise included, and scan over their steps, so that any number of
steps compiles the networks once. `params` holds the parts 'autoencoder', 'text_encoder', 'prompt_extractor'
and `part`, the student or the teacher. Images are [B, H, W, 3] in [-1, 1]; H and W are
multiples of what the autoencoder and the UNet divide by. `image_tokens` [B, 1 + n, I] are what the prompt
extractor says of the low-quality picture, where it saw another form of it than `lq` (the published scripts show it
the small file); None: of `lq`. `windows`: how pictures too large for one look are cut; by default not at all.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.diffusion import schedule
from addsr_jax.diffusion.denoiser import Conditioning, Denoiser, stack, to_unit
from addsr_jax.diffusion.windows import WHOLE, Windows
from addsr_jax.networks.build import Networks
from addsr_jax.trees import Tree


def noise_count(method: str, steps: int) -> int:
    """How many noise fields [B, h, w, C] a sampler takes: posterior of E(lq), start, and one per later step."""
    if method == 'addsr':
        return 2 + steps - 1
    if method == 'seesr':
        return 2 + steps
    raise ValueError(f"method is 'addsr' or 'seesr', not {method!r}")


def addsr(
    networks: Networks,
    params: Tree,
    lq: jax.Array,
    prompt_tokens: jax.Array,
    noise: jax.Array,
    *,
    timesteps: tuple[int, ...],
    psr_weight: float | jax.Array,
    guidance_scale: float | jax.Array | None = None,
    negative_tokens: jax.Array | None = None,
    conditioning_scale: float | jax.Array = 1.0,
    image_tokens: jax.Array | None = None,
    start_point: str = 'lr',
    antithetic: bool = False,
    part: str = 'student',
    windows: Windows = WHOLE,
) -> jax.Array:
    """AddSR's sampler (section 3 of the paper; pipeline_addsr.py): images of `len(timesteps)` student steps.

    From the second step on the condition is psr_weight times the last prediction plus the rest of `lq`, and
    every step starts from the last prediction under fresh noise. lq: the low-quality images at output size.
    noise: [N + 1, B, h, w, C] for N steps. guidance_scale None: one evaluation a step. start_point: the first step
    begins at the noised latents of `lq` ('lr') or at noise alone ('noise'). antithetic (not in the paper): a step's
    prediction is the mean of two, under its noise and under the negative of it. What the network lets through of the
    noise cancels, and with it grain on flat areas; twice the evaluations.
    """
    model = Denoiser(networks, part, windows)
    text = model.embed_text(params, prompt_tokens)
    negative_text = None if negative_tokens is None else model.embed_text(params, negative_tokens)
    low = to_unit(lq)
    z0 = model.encode(params, lq, noise[0])
    # Steps differ in their timestep alone: the first is a step whose last "prediction" is E(lq) and whose weight is 0.
    weights = jnp.asarray([0.0] + [1.0] * (len(timesteps) - 1)) * psr_weight

    def step(carry, x):
        z0, prediction = carry
        t, step_noise, weight, is_first = x
        t = jnp.broadcast_to(t, lq.shape[:1])
        condition = model.condition(params, weight * to_unit(prediction) + (1 - weight) * low, text)
        if image_tokens is not None:
            tokens = jnp.where(is_first, image_tokens, condition.image_tokens)
            condition = dataclasses.replace(condition, image_tokens=tokens)
        negative = negative_text
        if antithetic:
            t, z0, step_noise = (jnp.concatenate(pair) for pair in ((t, t), (z0, z0), (step_noise, -step_noise)))
            condition = stack(condition, condition)
            negative = None if negative is None else jnp.concatenate([negative, negative])
        z = model.add_noise(z0, step_noise, t)
        if start_point == 'noise':
            z = jnp.where(is_first, step_noise, z)
        z0 = _guided(model, params, z, t, condition, negative, guidance_scale, conditioning_scale)
        if antithetic:
            z0 = jnp.add(*jnp.split(z0, 2)) / 2
        return (z0, model.decode(params, z0)), None

    steps = (jnp.asarray(timesteps, jnp.int32), noise[1:], weights, jnp.arange(len(timesteps)) == 0)
    (_, image), _ = jax.lax.scan(step, (z0, lq), steps)
    return image


def seesr(
    networks: Networks,
    params: Tree,
    lq: jax.Array,
    prompt_tokens: jax.Array,
    noise: jax.Array,
    *,
    timesteps: tuple[int, ...],
    guidance_scale: float | jax.Array | None = None,
    negative_tokens: jax.Array | None = None,
    conditioning_scale: float | jax.Array = 1.0,
    image_tokens: jax.Array | None = None,
    start_point: str = 'lr',
    start_timestep: int | None = None,
    part: str = 'teacher',
    windows: Windows = WHOLE,
) -> jax.Array:
    """SeeSR's sampler (pipeline_seesr.py): ancestral DDPM from the noised low-quality latents, or from noise.

    The start is noised to `start_timestep`, by default the last training timestep although the grid begins below it,
    as published; the grid's timesteps above it are left out. start_point: 'lr' or 'noise'.
    noise: [N + 2, B, h, w, C]; the last fields stay unused where steps are left out. guidance_scale s: e_negative + s
    (e_positive - e_negative) (Ho & Salimans 2022), two evaluations a step in one batch.
    """
    model = Denoiser(networks, part, windows)
    text = model.embed_text(params, prompt_tokens)
    negative_text = None if negative_tokens is None else model.embed_text(params, negative_tokens)
    condition = model.condition(params, to_unit(lq), text)
    if image_tokens is not None:
        condition = dataclasses.replace(condition, image_tokens=image_tokens)
    last = networks.spec.schedule.steps - 1 if start_timestep is None else start_timestep
    z = noise[1]
    if start_point == 'lr':
        z0 = model.encode(params, lq, noise[0])
        z = model.add_noise(z0, noise[1], jnp.full(lq.shape[:1], last))
    taken = tuple(t for t in timesteps if t <= last)
    table = schedule.ddpm_coefficients(model.abar, taken, len(timesteps))

    def step(z, x):
        t, step_noise, (to_z0, to_zt, deviation) = x
        t = jnp.broadcast_to(t, lq.shape[:1])
        z0 = _guided(model, params, z, t, condition, negative_text, guidance_scale, conditioning_scale)
        return to_z0 * z0 + to_zt * z + deviation * step_noise, None

    coefficients = tuple(jnp.asarray(np.ascontiguousarray(c)) for c in table.T)
    steps = (jnp.asarray(taken, jnp.int32), noise[2 : 2 + len(taken)], coefficients)
    z, _ = jax.lax.scan(step, z, steps)
    return model.decode(params, z)


def _guided(
    model: Denoiser,
    params: Tree,
    z: jax.Array,
    t: jax.Array,
    condition: Conditioning,
    negative_text: jax.Array | None,
    guidance_scale: float | jax.Array | None,
    conditioning_scale: float | jax.Array,
) -> jax.Array:
    """z0 under classifier-free guidance; z0 is affine in the network's answer, so guiding either is the same."""
    if guidance_scale is None or negative_text is None:
        return model.predict_z0(params, z, t, condition, conditioning_scale)
    both = stack(dataclasses.replace(condition, text=negative_text), condition)
    z0 = model.predict_z0(params, jnp.concatenate([z, z]), jnp.concatenate([t, t]), both, conditioning_scale)
    negative, positive = jnp.split(z0, 2)
    return negative + guidance_scale * (positive - negative)
