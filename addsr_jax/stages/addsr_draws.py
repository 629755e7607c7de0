"""All chance of one `addsr` step, drawn in one place, so that recorded fields can be put in instead."""

import jax
import jax.numpy as jnp
from flax import struct

from addsr_jax.networks.perceptual import GRID
from addsr_jax.ops.augment import AugmentDraws, draw_augment
from addsr_jax.specs import ModelSpec
from addsr_jax.stages import base
from addsr_jax.stages.base import Batch
from addsr_jax.stages.objectives import AddsrObjective

PAIR = 2  # images of a published process, which share the coin for one step or two


@struct.dataclass
class Draws:
    """Every leaf has the batch as its first axis; what a whole batch shares is repeated along it."""

    one_step: jax.Array  # [B] bool: the first step is trained
    chain_start: jax.Array  # [B] int32 in 0..2: index of the first step, where there are two
    posterior: jax.Array  # [B, h, w, C] of E(h)
    first_noise: jax.Array  # [B, h, w, C] of the first step, which is not trained
    noise: jax.Array  # [B, h, w, C] of the trained step
    teacher_timesteps: jax.Array  # [B, K] int32 in [0, T)
    teacher_noise: jax.Array  # [B, K, h, w, C]
    augment_real: AugmentDraws
    augment_fake: AugmentDraws
    augment_student: AugmentDraws
    corners: jax.Array  # [B, 2] int32, where LPIPS begins to look

    def of_teachers(self, together: int) -> tuple[jax.Array, jax.Array]:
        """Timesteps [K / together, B * together] and noise, for a batch of so many teacher samples after the other."""

        def grouped(drawn: jax.Array) -> jax.Array:
            b, k, *rest = drawn.shape
            groups = drawn.reshape(b, k // together, together, *rest).swapaxes(0, 1)
            return groups.reshape(k // together, b * together, *rest)

        return grouped(self.teacher_timesteps), grouped(self.teacher_noise)


def draw(key: jax.Array, spec: ModelSpec, objective: AddsrObjective, batch: Batch) -> Draws:
    """Draws for a batch of hr [B, H, W, 3]; sample i's are the same whatever the batch around it."""
    b, h, w, _ = batch['hr'].shape
    factor = spec.autoencoder.factor
    field = (h // factor, w // factor, spec.autoencoder.latent_channels)
    k = objective.teacher_samples

    def normal(name: str, shape: tuple[int, ...]) -> jax.Array:
        return base.per_sample(key, name, b, lambda sample: jax.random.normal(sample, shape))

    def integers(name: str, shape: tuple[int, ...], stop: int) -> jax.Array:
        return base.per_sample(key, name, b, lambda sample: jax.random.randint(sample, shape, 0, stop))

    if objective.branch == 'per_batch':
        coin = jnp.broadcast_to(jax.random.uniform(base.stream(key, 'branch')), (b,))
    else:
        share = PAIR if objective.branch == 'per_pair' else 1
        coins = base.per_sample(key, 'branch', -(-b // share), lambda sample: jax.random.uniform(sample))
        coin = jnp.repeat(coins, share)[:b]
    noise = normal('noise', field)
    shared = objective.noise == 'shared'
    return Draws(
        one_step=coin <= objective.one_step_probability,
        chain_start=integers('chain_start', (), len(objective.timesteps) - 1),
        posterior=normal('posterior', field),
        first_noise=noise if shared else normal('first_noise', field),
        noise=noise,
        teacher_timesteps=integers('teacher_timestep', (k,), spec.schedule.steps),
        teacher_noise=(
            jnp.broadcast_to(noise[:, None], (b, k, *field)) if shared else normal('teacher_noise', (k, *field))
        ),
        augment_real=draw_augment(base.stream(key, 'augment_real'), b, h),
        augment_fake=draw_augment(base.stream(key, 'augment_fake'), b, h),
        augment_student=draw_augment(base.stream(key, 'augment_student'), b, h),
        corners=integers('corners', (2,), GRID),
    )
