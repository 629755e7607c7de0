"""Stages of the tiny model with the objective of their config file."""

import dataclasses
import importlib

import jax.numpy as jnp
import optax

from addsr_jax.stages import STAGES
from addsr_jax.stages.base import Optimizers, Stage
from tests import tiny


def objective(name: str, **changes):
    config = importlib.import_module(f'configs.{name}').get_config('nano')
    made = STAGES[name].objective(**config.objective.to_dict())
    return dataclasses.replace(made, **changes)


def stage(name: str, accumulate: int = 1, **changes) -> Stage:
    # plain descent: parameters after a step show the gradient
    optimizers = Optimizers(optax.sgd(0.1), optax.sgd(0.1))
    return STAGES[name].make(
        tiny.SPEC, objective(name, **changes), optimizers, ema=0.5, seed=0, accumulate=accumulate, dtype=jnp.float32
    )
