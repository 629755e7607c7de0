"""Stages of the tiny model with the objective of their config file, and runs whose programs compile once."""

import dataclasses
import importlib
from functools import cache
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from addsr_jax.specs import ModelSpec
from addsr_jax.stages import base
from addsr_jax.stages.base import Optimizers, Recipe, Stage
from addsr_jax.stages.table import STAGES
from tests import tiny


def objective(name: str, **changes):
    config = importlib.import_module(f'configs.{name}').get_config('nano')
    made = STAGES[name].objective(**config.objective.to_dict())
    return dataclasses.replace(made, **changes)


def released(**changes):
    """The objective of the published script, from its config."""
    config = importlib.import_module('configs.addsr').get_config('sd2_released')
    return dataclasses.replace(STAGES['addsr'].objective(**config.objective.to_dict()), **changes)


def recipe(accumulate: int = 1, spec: ModelSpec = tiny.SPEC) -> Recipe:
    """Plain descent at 0.1: parameters after a step show the gradient."""
    optimizers = Optimizers(optax.sgd(0.1), optax.sgd(0.1))
    return Recipe(spec, optimizers, ema=0.5, ema_warmup=True, seed=0, accumulate=accumulate, dtype=jnp.float32)


@cache
def stage(name: str, spec: ModelSpec = tiny.SPEC, **changes) -> Stage:
    return STAGES[name].make(recipe(spec=spec), objective(name, **changes))


@cache
def loss_and_draw(name: str, **changes) -> Any:
    """What a stage with one player hands to `simple_update`: its loss [B] with metrics, and its chance."""
    with mock.patch.object(base, 'simple_update', lambda loss, draw, recipe: (loss, draw)):
        return STAGES[name].make(recipe(), objective(name, **changes)).update


def first_key() -> jax.Array:
    """The key of a stage's first update."""
    return jax.random.fold_in(jax.random.key(0), 0)


def empty_batch(size: int, side: int = 8):
    """A batch of which chance needs the shape alone."""
    return {'hr': np.zeros((size, side, side, 3), np.float32)}


@cache
def bundle(spec: ModelSpec = tiny.SPEC):
    return tiny.on_device(tiny.bundle(spec).params)


@cache
def update(made: Stage):
    return jax.jit(made.update)


def run(made: Stage, start, steps: int = 1):
    """(state, frozen networks, metrics of every step) of steps on one batch of four."""
    state, frozen = jax.jit(made.init)(jax.random.key(0), start), made.freeze(start)
    metrics = []
    for _ in range(steps):
        state, told = update(made)(state, frozen, tiny.batch(0, 4))
        metrics.append({name: float(value) for name, value in told.items()})
    return state, frozen, metrics
