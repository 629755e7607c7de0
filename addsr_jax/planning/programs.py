"""The programs that are planned: the train step of a config, and the samplers, as the product itself traces them."""

import math
from functools import partial

from addsr_jax import sharding
from addsr_jax.data.batches import batch_shapes
from addsr_jax.diffusion.sampler import Sampling
from addsr_jax.errors import UserError
from addsr_jax.planning.estimate import Program, bytes_on_a_device
from addsr_jax.planning.hardware import Machine
from addsr_jax.restoration import program as sampler_program
from addsr_jax.restoration.settings import Settings, parse_method
from addsr_jax.sizes import MODELS
from addsr_jax.training import fit, job, step
from addsr_jax.training.options import TrainOptions


def train_step(options: TrainOptions, machine: Machine) -> Program:
    """The step of a training run, with the mesh and the remat that the run would choose there."""
    options, start = job.abstract_start(options)
    options = fit.settled(options, machine.devices, partial(job.step_sizes, start))
    mesh = sharding.make_mesh(options.mesh, machine.devices)
    sharding.check_batch(mesh, options.batch_size, options.accumulate)
    stage, shapes = job.abstract_step(options, start, mesh)
    batch = batch_shapes(options.data, options.batch_size)
    arguments: dict[str, int] = {}
    for field in ('params', 'ema', 'optimizer', 'discriminator', 'discriminator_optimizer'):
        tree, places = getattr(shapes.state, field), getattr(shapes.shardings, field)
        if size := bytes_on_a_device(tree, places):
            arguments[f'state: {field}'] = size
    for part, tree in shapes.frozen.items():
        arguments[f'frozen: {part}'] = bytes_on_a_device(tree, shapes.frozen_shardings[part])
    images = options.batch_size // mesh.size
    arguments['batch'] = images * sum(math.prod(shape[1:]) * dtype.itemsize for shape, dtype in batch.values())
    return Program(
        name=f'train step of stage {options.stage}, size {options.size}',
        trace=partial(step.trace_step, stage, shapes, batch, mesh),
        arguments=arguments,
        mesh=dict(mesh.shape),
        batch=options.batch_size,
        remat=options.remat,
        runs=options.steps,
        unsplit={**sharding.unsplit(mesh, shapes.state.params), **sharding.unsplit(mesh, shapes.frozen)},
    )


def sampler(size: str, method: str, side: int, batch: int, machine: Machine) -> Program:
    """Restoring `batch` tiles on each device, whose targets have `side` pixels."""
    settings = parse_method(method, Settings())
    if settings is None:
        raise UserError(f'--sample {method} runs no network: write METHOD-STEPS, as addsr-4 or seesr-50')
    spec, mesh = MODELS[size], sharding.make_mesh('data:-1', machine.devices)
    method_of = settings.of_method
    sampling = Sampling.of(
        method_of, settings.steps_with(spec.view.student_steps), spec.schedule.steps, guided=method_of.guided
    )
    shapes = sampler_program.param_shapes(spec, sampling, sharding.compute_dtype(mesh))
    places = sharding.state_shardings(mesh, shapes)
    return Program(
        name=f'{method}, size {size}, {side} pixels',
        trace=sampler_program.Shaped(spec, sampling, mesh, batch * mesh.size, side, side).trace,
        arguments={f'weights: {part}': bytes_on_a_device(tree, places[part]) for part, tree in shapes.items()},
        mesh=dict(mesh.shape),
        batch=batch * mesh.size,
    )
