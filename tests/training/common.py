"""Runs of a toy teacher through the real loop, which compile its step once for all tests."""

import dataclasses
import math
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest

from addsr_jax import sharding
from addsr_jax.stages.base import State
from addsr_jax.training import loop, step
from addsr_jax.training.loop import Result, train
from addsr_jax.training.options import LoopOptions
from tests import tiny
from tests.stages import toy

OPTIONS = LoopOptions(steps=6, batch_size=8, checkpoint_every=2, eval_every=0, log_every=2, preview_every=0)

programs = {}
compile_step = loop.compile_step  # before a test puts `compile_once` in its place


def compile_once(made, shapes, batch, mesh):
    if (made, mesh) not in programs:
        programs[made, mesh] = compile_step(made, shapes, batch, mesh)
    return programs[made, mesh]


def devices_of(mesh: str) -> int:
    """8 of 'data:2,fsdp:4'."""
    return math.prod(int(axis.partition(':')[2]) for axis in mesh.split(','))


def run(
    workdir: Path,
    *,
    made=None,
    params=None,
    batches=None,
    report=None,
    mesh='data:2',
    held_out=None,
    rates=None,
    steps_before=None,
    **changes,
) -> Result:
    """Trains the toy teacher in `workdir`; `changes` are of OPTIONS."""
    with mock.patch.object(loop, 'compile_step', compile_once):
        return train(
            made or toy.stage('seesr'),
            params or (lambda: jax.device_get(toy.bundle())),
            batches or tiny.Batches(),
            dataclasses.replace(OPTIONS, **changes),
            workdir=workdir,
            mesh=sharding.make_mesh(mesh, jax.devices()[: devices_of(mesh)]),
            seed=0,
            held_out=held_out,
            record_name=lambda index: f'photo {index}',
            report=report or (lambda line: None),
            rates=rates or (lambda step, steps: {}),
            steps_before=steps_before,
        )


@dataclasses.dataclass(frozen=True)
class Step:
    """Where a step has led."""

    state: State
    metrics: dict[str, float]


def one_step(made, bundle, batch, text: str) -> Step:
    """One step on the mesh `text`, of a state that is born sharded."""
    mesh = sharding.make_mesh(text, jax.devices()[: devices_of(text)])
    shapes = step.state_shapes(made, bundle, mesh)
    state = step.first_state(made, bundle, shapes, 0)
    frozen = jax.device_put(made.freeze(bundle), shapes.frozen_shardings)
    arrays = {name: (value.shape, value.dtype) for name, value in batch.items()}
    update = compile_step(made, shapes, arrays, mesh)
    state, metrics = update(state, frozen, sharding.put_batch(batch, mesh))
    return Step(state, {name: float(value) for name, value in metrics.items()})


def assert_same_step(one: Step, other: Step):
    """Metrics and, as steps of plain descent show them, gradients."""
    for key, value in one.metrics.items():
        assert other.metrics[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key
    params = (jax.tree.leaves(jax.device_get(step.state.params)) for step in (one, other))
    for a, b in zip(*params, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-6)


def assert_equal(a, b):
    """Every leaf of two states, bit for bit."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert all(np.array_equal(np.asarray(x), np.asarray(y)) for x, y in leaves)
