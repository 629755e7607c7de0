"""The numbers and switches of the `addsr` objective, and the weight d(s, t) of its distillation."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax.errors import UserError

CHOICES = {
    'ta_index': ('graded_step', 'first_step'),
    'ta_form': ('exponential', 'linear', 'constant'),
    'second_step_latent': ('student', 'hr'),
    'psr_range': ('unit', 'signed'),
    'teacher_condition': ('hr', 'lq'),
    'noise': ('independent', 'shared'),
    'branch': ('per_sample', 'per_batch'),
    'c_norm': ('imagenet', 'none'),
    'spectral_steps': (1, 3),
    'trainable': ('all', 'image_attentions'),
    'start': ('teacher', 'student'),
}


@dataclass(frozen=True)
class Objective:
    """Section 3 of the paper in numbers; the switches are those of docs/differences.md."""

    timesteps: tuple[int, ...]  # S, the student's chain
    teacher_samples: int  # K
    one_step_probability: float  # of grading the first step
    adversarial_weight: float  # lambda
    mu: float
    nu: float
    start: str  # 'teacher', or 'student' to go on from a trained one
    ta_index: str  # whose index p weighs the distillation: the graded step's, or the chain's first step's
    ta_form: str
    second_step_latent: str  # what is re-noised for the second step
    psr_range: str  # 'unit': the second condition lies in [0, 1] like every other; 'signed': [-1, 1]
    psr_train: float  # weight of the prediction in the second condition
    psr_preview: float
    teacher_condition: str  # 'lq' is plain ADD
    noise: str  # 'shared': one field for both student steps and all teachers
    branch: str
    c_norm: str  # how the condition network's picture is normalised
    spectral_steps: int  # power iterations a step
    r1: float  # weight of R1 on the features that the heads see, which plain ADD has
    d_grad_leak: bool  # the generator's gradient in D is added to D's next one
    trainable: str

    def __post_init__(self):
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UserError(
                    f'config.objective.{name} is {getattr(self, name)!r}: choose one of {", ".join(map(str, allowed))}'
                )
        if len(self.timesteps) < 2 or list(self.timesteps) != sorted(self.timesteps, reverse=True):
            raise UserError(f'config.objective.timesteps must fall and be at least two: {self.timesteps}')
        if self.teacher_samples < 1:
            raise UserError('config.objective.teacher_samples must be at least 1')
        if self.r1 < 0:
            raise UserError('config.objective.r1 must not be negative')


def released(objective: Objective) -> Objective:
    """Every switch as the published code has it (train_addsr.py)."""
    return dataclasses.replace(
        objective,
        ta_index='first_step',
        ta_form='exponential',
        second_step_latent='hr',
        psr_range='signed',
        psr_train=1.0,
        teacher_condition='hr',
        noise='shared',
        branch='per_batch',
        c_norm='none',
        spectral_steps=3,
        r1=0.0,
        d_grad_leak=True,
        trainable='image_attentions',
    )


def step_index(objective: Objective, one_step: jax.Array, chain_start: jax.Array) -> jax.Array:
    """p(s) = 1, 2, ... along the chain, float32 [B]."""
    if objective.ta_index == 'graded_step':
        return jnp.where(one_step, 1.0, chain_start + 2.0)
    return jnp.where(one_step, float(len(objective.timesteps)), chain_start + 1.0)


def distillation_weight(objective: Objective, abar: np.ndarray, p: jax.Array, t: jax.Array) -> jax.Array:
    """d(s, t) = sqrt(abar_t) W(p), eq. 7: W = mu nu^(p-1), 0.2 p + 0.5, or 1. p, t: [B]."""
    signal = jnp.sqrt(jnp.asarray(abar)[t])
    if objective.ta_form == 'exponential':
        return signal * objective.mu * objective.nu ** (p - 1)
    if objective.ta_form == 'linear':
        return signal * (0.2 * p + 0.5)
    return signal
