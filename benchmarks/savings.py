"""What each saving of stage `addsr`'s step spares: the step as it is, and written without one saving at a time.

    python -m benchmarks.savings [--runs 7]

Forward and both gradients, before the optimisers. TFLOP: of Stable Diffusion 2's step, counted in its traced program,
one picture of 512 pixels. The other columns are those of a small model, run on two pictures of 128 pixels: the embedded
one's networks, of UNet and ControlNet one level, with small DINO and DINOv2. MB is planned beside inputs and weights,
CPU-s the median of --runs, which take turns, loss and gradient the largest differences to the step as it is, of the
largest value. A compiler may see by itself that two passes are one: then only the count of FLOPs tells them apart.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from addsr_jax import sharding, sizes
from addsr_jax.benchmark import random_batch
from addsr_jax.data.batches import batch_shapes
from addsr_jax.diffusion.denoiser import Denoiser
from addsr_jax.evaluation.ablation import markdown
from addsr_jax.flags import say
from addsr_jax.planning.flops import flops
from addsr_jax.runtime import compiler_options, prepare
from addsr_jax.specs import ModelSpec
from addsr_jax.stages import addsr
from addsr_jax.stages.addsr import Heads, Losses, Prediction
from addsr_jax.stages.addsr_draws import draw
from addsr_jax.stages.objectives import AddsrObjective
from addsr_jax.stages.projected import Projection
from addsr_jax.training import config, job
from addsr_jax.trees import Tree
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.random import random_params

DINO: Any = partial(dataclasses.replace, width=96, depth=3, heads=2)
UNET = dataclasses.replace(sizes.NANO.unet, block_out_channels=(48,), attention=(True,), heads=(2,))
SMALL = dataclasses.replace(
    sizes.NANO,
    name='small',
    unet=UNET,
    controlnet=dataclasses.replace(sizes.NANO.controlnet, unet=UNET),
    dino=DINO(sizes.SD2.dino, image_size=112),
    dinov2=DINO(sizes.SD2.dinov2, image_size=224),
    discriminator=dataclasses.replace(
        sizes.SD2.discriminator, feature_channels=(96,) * 3, condition_dim=96, hooks=(1, 2), image_size=112
    ),
)
Step = Callable[[Losses, Tree, Tree, Tree, Tree], tuple[Tree, Tree, Tree]]


def step(losses: Losses, trained: Tree, frozen: Tree, samples: Tree, heads: Tree) -> tuple[Tree, Tree, Tree]:
    """(metrics, the student's gradient, the discriminator's) of one forward."""
    vectors = (heads['spectral'], heads['spectral'])
    f = addsr.forward(losses, trained, frozen, samples)
    judged, metrics = addsr.discriminator_gradient(losses, heads['params'], vectors, f)
    gradient, _, more = addsr.student_gradient(losses, Heads(heads['params'], heads['spectral']), f)
    return {**metrics, **more}, gradient, judged


def forward_each(losses: Losses, trained: Tree, frozen: Tree, samples: Tree, heads: Tree) -> tuple[Tree, Tree, Tree]:
    """The forward once for the discriminator and once for the student."""
    vectors = (heads['spectral'], heads['spectral'])
    first, second = (addsr.forward(losses, trained, frozen, samples) for _ in range(2))
    judged, metrics = addsr.discriminator_gradient(losses, heads['params'], vectors, first)
    gradient, _, more = addsr.student_gradient(losses, Heads(heads['params'], heads['spectral']), second)
    return {**metrics, **more}, gradient, judged


@jax.custom_vjp
def held(x: Any) -> Any:
    """The identity, whose gradient is zeros that are computed."""
    return x


held.defvjp(lambda x: (x, None), lambda _, cotangent: (jax.tree.map(jnp.zeros_like, cotangent),))


def through_zeros(losses: Losses, trained: Tree, frozen: Tree, samples: Tree, heads: Tree) -> tuple[Tree, Tree, Tree]:
    """L_G from the trained parameters on, as one function, with a backward pass wherever its gradient is zero."""

    def of(parameters: Tree, x: jax.Array | None = None) -> tuple[jax.Array, Tree]:
        sample = losses.prepare(parameters, frozen, samples['batch'], samples['draws'])
        x, z0 = losses.student(parameters, sample)
        total, metrics = jnp.zeros(len(x)), {}
        for weight, term in losses.terms:
            loss, told = term(Prediction(x, z0), Heads(heads['params'], heads['spectral']), sample)
            total, metrics = total + weight * loss, {**metrics, **told}
        return total.mean(), {**metrics, 'loss': total.mean()}

    def arrays(tree: Tree) -> Tree:
        return jax.tree.map(lambda x: held(x) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)

    vectors = (heads['spectral'], heads['spectral'])
    f = addsr.forward(losses, trained, frozen, samples)
    judged, told = addsr.discriminator_gradient(losses, heads['params'], vectors, f)
    with mock.patch.object(jax.lax, 'stop_gradient', arrays):
        gradient, metrics = jax.grad(of, has_aux=True)(trained)
    return {**told, **metrics}, gradient, judged


class EmbedsEachTime(Projection):
    """The LQ picture is looked at for each picture that is judged."""

    def features(self, images: Any, draws: Any, frozen: Tree, lq: Any, embedding: Any) -> Any:
        return super().features(images, draws, frozen, lq, jax.lax.stop_gradient(self.embed(frozen, lq)))


class EncodesEachTime(Denoiser):
    """What the teacher sees of the target is encoded again."""

    def condition(self, params: Tree, images: Any, text: Any, *, clip_view: bool = False, latents: Any = None) -> Any:
        return super().condition(params, images, text, clip_view=clip_view)


def changed(losses: Losses, name: str) -> tuple[Losses, Step]:
    """The step without one saving."""
    projection, model = losses.projection, losses.student_model
    at_once = dataclasses.replace(losses.objective, teacher_together=losses.objective.teacher_samples)
    parts = (projection.networks, projection.parts, projection.extract, projection.embed)
    return {
        'as it is': (losses, step),
        'the LQ picture embedded for each judgement': (
            dataclasses.replace(losses, projection=EmbedsEachTime(*parts)),
            step,
        ),
        'the target encoded twice': (
            dataclasses.replace(losses, student_model=EncodesEachTime(model.networks, model.part)),
            step,
        ),
        'a forward for each player': (losses, forward_each),
        'backward passes that end in zeros': (losses, through_zeros),
        "the teacher's samples in one batch": (dataclasses.replace(losses, objective=at_once), step),
    }[name]


STEPS = (
    'as it is',
    'the LQ picture embedded for each judgement',
    'the target encoded twice',
    'a forward for each player',
    'backward passes that end in zeros',
    "the teacher's samples in one batch",
)


def prepared(spec: ModelSpec, config_name: str, size: int, side: int) -> tuple[Losses, tuple[Any, ...]]:
    """The losses, and the shapes of what a step takes: trained, frozen, {batch, draws}, heads."""
    given = {'weights': '', 'mesh': 'data:1', 'batch_size': str(size), 'data.hr_size': str(side)}
    given |= {'objective.one_step_probability': '0.0', 'objective.branch': 'per_batch', 'remat': 'none'}
    options = config.train_options(config_name, list(given.items()))
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    recipe, objective = job.recipe_of(options, spec, mesh), cast(AddsrObjective, options.objective)
    stage, losses = addsr.make(recipe, objective), addsr.make_losses(recipe, objective)
    shapes = bundles.expected(spec, job.parts_of(spec, options))
    batch = {name: jax.ShapeDtypeStruct(*told) for name, told in batch_shapes(options.data, size).items()}
    state = jax.eval_shape(lambda params: stage.init(jax.random.key(0), params), shapes)
    draws = jax.eval_shape(lambda b: draw(jax.random.key(0), spec, objective, b), batch)
    return losses, (
        state.params,
        jax.eval_shape(stage.freeze, shapes),
        {'batch': batch, 'draws': draws},
        state.discriminator,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=7)
    parser.add_argument('--small', action='store_true', help='without the FLOPs of Stable Diffusion 2')
    values = parser.parse_args()
    prepare()
    small, shapes = prepared(SMALL, 'configs/addsr.py:nano', 2, 128)
    given = numbers(small, shapes)
    large = None if values.small else prepared(sizes.SD2, 'configs/addsr.py', 1, 512)
    rows, programs, wanted = {}, {}, None
    for name in STEPS:
        told = '' if large is None else f'{flops(traced(*large, name).jaxpr) / 1e12:.2f}'
        program = traced(small, shapes, name)
        count = flops(program.jaxpr) / 1e9
        programs[name] = program.lower().compile()
        found = jax.tree.map(np.asarray, programs[name](*given))
        wanted = found if wanted is None else wanted
        memory = programs[name].memory_analysis().temp_size_in_bytes / 1e6
        apart = [f'{difference(found[i], wanted[i]):.0e}' for i in (0, 1)]
        rows[name] = ([told, f'{count:.1f}', f'{memory:.0f}'], apart)
    seconds = {name: [] for name in STEPS}
    for _ in range(values.runs):  # in turn: what else this machine does is shared among them
        for name, program in programs.items():
            seconds[name].append(cpu_seconds(program, given))
    header = ['step', 'TFLOP, SD-2', 'GFLOP', 'MB', 'CPU-s', 'loss', 'gradient']
    table = [[name, *own, f'{statistics.median(seconds[name]):.2f}', *apart] for name, (own, apart) in rows.items()]
    say(markdown([header, *table]))


def traced(losses: Losses, shapes: tuple[Any, ...], name: str) -> Any:
    other, run = changed(losses, name)
    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    return jax.jit(partial(run, other), compiler_options=compiler_options(mesh)).trace(*shapes)


def numbers(losses: Losses, shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Random ones of these shapes, and the draws of a first update."""
    trained, frozen, samples, heads = shapes
    batch = random_batch({name: (told.shape, told.dtype) for name, told in samples['batch'].items()})
    spec = losses.student_model.networks.spec
    draws = draw(jax.random.key(0), spec, losses.objective, batch)
    spectral = jax.tree.map(lambda x: np.full(x.shape, x.size**-0.5, np.float32), heads['spectral'])
    params = random_params(heads['params'], np.float32)
    own = (random_params(trained, np.float32), random_params(frozen, np.float32))
    return jax.device_put((*own, {'batch': batch, 'draws': draws}, {'params': params, 'spectral': spectral}))


def cpu_seconds(program: Any, given: tuple[Any, ...]) -> float:
    began = time.process_time()
    jax.block_until_ready(program(*given))
    return time.process_time() - began


def difference(a: Tree, b: Tree) -> float:
    """The largest, of the largest value."""
    pairs = [(a[name], b[name]) for name in b] if 'loss' in b else list(zip(*map(jax.tree.leaves, (a, b)), strict=True))
    return max(float(np.abs(x - y).max()) for x, y in pairs) / max(float(np.abs(y).max()) for _, y in pairs)


if __name__ == '__main__':
    main()
