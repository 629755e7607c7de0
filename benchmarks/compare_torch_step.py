"""The train step of stage `addsr` that `compare_torch` compares: the embedded model's, without its discriminator.

Student and teacher at their second step, two teacher samples, all of the student trained: forward, backward, clipping,
AdamW and the moving average, as `configs/addsr.py:nano` has them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import torch

from addsr_jax.benchmark import random_batch
from addsr_jax.data.batches import batch_shapes
from addsr_jax.diffusion.schedule import alphas_cumprod
from addsr_jax.sizes import NANO
from addsr_jax.stages.addsr_draws import draw
from addsr_jax.stages.addsr_objective import step_index, timestep_weight
from addsr_jax.stages.objectives import AddsrObjective
from addsr_jax.training import config, job, step
from addsr_jax.training.options import TrainOptions
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params
from benchmarks.side_by_side import Case
from benchmarks.torch_model import Model, Place
from benchmarks.torch_networks import Weights

PARTS = ('autoencoder', 'text_encoder', 'prompt_extractor', 'teacher', 'student')
OVERRIDES = {
    'weights': '',
    'mesh': 'data:1',
    'batch_size': '4',
    'ema_warmup': 'False',
    'objective.adversarial_weight': '0.0',
    'objective.one_step_probability': '0.0',
    'objective.branch': 'per_batch',
}


def train_step(setting: Any) -> Case:
    options = config.train_options('configs/addsr.py:nano', list(OVERRIDES.items()))
    params = random_params(bundles.expected(NANO, list(PARTS)), np.float32)
    batch = random_batch(batch_shapes(options.data, options.batch_size))
    forms = {form: place for form, place in setting.places.items() if form != 'compiled'}
    theirs = {form: partial(Twin(options, params, batch, place).step) for form, place in forms.items()}
    name = f"nano's train step, batch {options.batch_size}, {options.data.hr_size} pixels"
    return Case(name, ours(options, params, batch, setting.mesh), theirs)


def ours(options: TrainOptions, params: Tree, batch: Tree, mesh: Any) -> Callable[[], np.ndarray]:
    """One update after the other; answers loss and length of the gradient."""
    stage = job.make_stage(options, NANO, mesh)
    shapes = step.state_shapes(stage, params, mesh)
    update = step.compile_step(stage, shapes, batch_shapes(options.data, options.batch_size), mesh)
    frozen = jax.device_put(stage.freeze(params), shapes.frozen_shardings)
    state = step.first_state(stage, params, shapes, options.seed)

    def once() -> np.ndarray:
        nonlocal state
        state, metrics = update(state, frozen, batch)
        return np.array([metrics['loss'], metrics['gradient_norm']])

    return once


class Twin:
    """The same update in torch, with the draws of ours at step 0."""

    def __init__(self, options: TrainOptions, params: Tree, batch: Tree, place: Place) -> None:
        o, objective = options.optimizer, cast(AddsrObjective, options.objective)
        self.model, self.decay, self.clip = Model(NANO, params, place), options.ema, o.clip
        self.psr = objective.psr_train
        self.batch = {name: place.put(batch[name]) for name in ('hr', 'lq', 'tokens')}
        self.draws = drawn(options, batch, place)
        self.trained = [tensor.requires_grad_() for tensor in leaves(self.model.weights['student'])]
        self.average = [tensor.detach().clone() for tensor in self.trained]
        self.optimizer = torch.optim.AdamW(
            self.trained, o.learning_rate, (o.beta1, o.beta2), o.epsilon, o.weight_decay, fused=True
        )

    @torch.enable_grad()
    def step(self) -> np.ndarray:
        self.optimizer.zero_grad()
        loss = self.model.distillation(self.batch, self.draws, self.psr)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.clip)
        self.optimizer.step()
        for average, tensor in zip(self.average, self.trained, strict=True):
            average.lerp_(tensor.detach(), 1 - self.decay)
        return np.array([loss.item(), norm.item()])


def leaves(w: Weights) -> list[torch.Tensor]:
    return [leaf for value in w.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


def drawn(options: TrainOptions, batch: Tree, place: Place) -> Weights:
    """What stage `addsr` draws in its first update."""
    o = cast(AddsrObjective, options.objective)
    draws = draw(jax.random.fold_in(jax.random.key(options.seed), 0), NANO, o, batch)
    chain, times = jnp.asarray(o.timesteps), draws.teacher_timesteps.T
    p = step_index(o, draws.one_step, draws.chain_start)
    weights = jnp.stack([timestep_weight(o, alphas_cumprod(NANO.schedule), p, t) for t in times])
    return {
        'posterior': place.put(draws.posterior),
        'first_noise': place.put(draws.first_noise),
        'noise': place.put(draws.noise),
        'first': place.put(chain[draws.chain_start]),
        'second': place.put(chain[draws.chain_start + 1]),
        'teacher_timesteps': [place.put(t) for t in times],
        'teacher_noise': [place.put(noise) for noise in draws.teacher_noise.swapaxes(0, 1)],
        'weights': [place.put(row) for row in weights],
    }
