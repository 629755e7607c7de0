"""A run from its options: weights, stage and data, one call of the loop, and `final/`."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from addsr_jax import processes, sharding, trees
from addsr_jax.data import sources
from addsr_jax.data.batches import Batches, batch_shapes, described, make_batches
from addsr_jax.data.held_out import held_out_batch
from addsr_jax.data.tokens import Tokenizer, load_tokenizer
from addsr_jax.errors import UserError, printable
from addsr_jax.ops.attention import chosen
from addsr_jax.sizes import MODELS
from addsr_jax.specs import ModelSpec
from addsr_jax.stages.addsr_objective import PATTERNS
from addsr_jax.stages.base import Optimizers, Recipe, Stage, State, resumable
from addsr_jax.stages.objectives import AddsrObjective
from addsr_jax.stages.table import STAGES
from addsr_jax.training import captions, config, fit, lock, prefetch, step
from addsr_jax.training.checkpoints import Checkpoints
from addsr_jax.training.optimizers import learning_rate, make_optimizer
from addsr_jax.training.options import EvaluationOptions, TrainOptions
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights import lpips, same, tokenizer_files
from addsr_jax.weights.beside import has_beside, load_beside
from addsr_jax.weights.bundle import Bundle


def run(options: TrainOptions, workdir: Path, report: Callable[[str], None]) -> bool:
    """Trains or resumes; all that is refused without the weights' numbers is refused before `workdir` is touched.

    False: a signal ended it before its last step, with a checkpoint.
    """
    from addsr_jax.training.loop import train  # brings tensorflow, and all else here is of use without it

    settled, mesh, start, stage, known = prepared(options)
    options = dataclasses.replace(options, objective=settled.objective)
    shapes = step.state_shapes(stage, known, mesh)  # refuses weights that lack a part, or have one of another kind
    training = kept_training(options, stage, start)
    data = options.data
    source = sources.open_source(data.source, data.path, lq_path=data.lq_path, image_key=data.image_key)
    tokenizer = load_tokenizer(start.tokenizer)
    captions.check(options, start)
    held_out = None
    if options.eval_every or options.preview_every:
        held_out = held_out_batch(
            held_out_source(options.evaluation),
            options.evaluation.images,
            options.data.hr_size,
            options.data.degradation,
            start.spec.prompts.student_added,
            tokenizer,
        )
    steps_before = config.claim(workdir, options, start.content, writes=False)
    Checkpoints.open(workdir, options.keep).check_steps(options.steps)
    announce(options, settled.remat, mesh, shapes, source, report)
    with lock.alone(workdir, report) if processes.first() else nullcontext():
        # again: another run may have come and gone meanwhile
        config.claim(workdir, options, start.content, writes=processes.first())
        processes.wait('claimed')
        # RAM tags before the start is on the devices: both may not fit there
        taken = captions.tagged(options, source, workdir, report) if captions.asked(options) else source
        batches = batches_of(options, taken, tokenizer)
        begun = [{**tensors(options, stage, start, mesh), **training}]  # the loop takes it out, and lets go of it
        del training
        result = train(
            stage,
            begun.pop,
            batches,
            options,
            workdir=workdir,
            mesh=mesh,
            seed=options.seed,
            held_out=held_out,
            rates=partial(rates, options),
            steps_before=steps_before,
            record_name=lambda index: described(source, index),
            files=len(source),
            report=report,
            shapes=shapes,
        )
        if result.finished:
            spec = stage.spec_update(result.state, result.frozen, partial(first_batch, batches, mesh))
            write_final(stage, result.state, start, spec, options, mesh, workdir / 'final')
            report(f'{workdir / "final"} holds the result')
    return result.finished


def announce(
    options: TrainOptions,
    remat: str,
    mesh: Mesh,
    shapes: step.StateShapes,
    source: sources.Source,
    report: Callable[[str], None],
) -> None:
    """The first lines of a run: what is trained on what, and what is not as somebody may think."""
    report(
        f'{options.stage}, size {options.size}: {options.steps} steps of {options.batch_size} images from '
        f'{len(source)} photographs{captions.said(options, source)} on {mesh.size} {mesh.devices.flat[0].platform} '
        f'device{"s" if mesh.size > 1 else ""}, '
        f'mesh {sharding.described(mesh.shape)}, remat {remat}, '
        f'attention {attention_of(options, mesh)}, {origin(options)}'
    )
    for kind, tree in {'trained': shapes.state.params, 'frozen': shapes.frozen}.items():
        if whole := sharding.unsplit(mesh, tree):
            report(f'{kind}, cannot be split over {mesh.shape["fsdp"]} devices: {sharding.some_of(whole)}')
    if source.left_out:
        report(f'{len(source)} photographs in {options.data.path}, left out: {source.left_out}')


def batches_of(options: TrainOptions, source: sources.Source, tokenizer: Tokenizer) -> Batches:
    """This process's rows of the run's batches."""
    return make_batches(
        options.data,
        source,
        tokenizer,
        batch_size=options.batch_size,
        seed=options.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def first_batch(batches: Batches, mesh: Mesh) -> dict[str, jax.Array]:
    """Of a run's batches, on the devices."""
    source = batches(0)
    try:
        return sharding.put_batch({name: rows for name, rows in next(source).items() if name != 'replaced'}, mesh)
    finally:
        prefetch.close(source)


def held_out_source(options: EvaluationOptions) -> sources.Source:
    """Photographs, or pairs, that training never sees."""
    if not options.path:
        return sources.held_out()
    try:
        return sources.pairs(options.path, options.lq_path) if options.lq_path else sources.folder(options.path)
    except UserError as error:
        raise UserError(f'{error} (--config.evaluation.path)') from error


def rates(options: TrainOptions, step: int, steps: int) -> dict[str, float]:
    """Learning rates of update number `step`, the first is 1, of a run of `steps`."""
    found = {'learning_rate': options.optimizer}
    if getattr(options.objective, 'adversarial_weight', 0):
        found['d_learning_rate'] = options.discriminator_optimizer
    return {name: float(np.asarray(learning_rate(said, steps)(step - 1))) for name, said in found.items()}


def write_final(
    stage: Stage, state: State, start: Bundle, spec: ModelSpec, options: TrainOptions, mesh: Mesh, folder: Path
) -> None:
    """The model that a run has made, with what a later run goes on from; gathered by all processes, written by one.

    That one reads what the run started from again, since no device has kept it whole; no other host holds a model.
    """
    state_here = processes.on_first_host(dataclasses.replace(state, params=None), mesh)
    if state_here is not None:
        whole = dataclasses.replace(bundles.load(options.weights), spec=start.spec) if options.weights else start
        final = bundles.merged(whole, stage.export(state_here, whole.params), spec, config.describe(options))
        lora = None if stage.adapters is None else stage.adapters(state_here)
        bundles.save(final, folder, 'orbax', beside={'training': resumable(state_here)}, lora=lora)
    processes.wait('final')


def prepared(options: TrainOptions) -> tuple[TrainOptions, Mesh, Bundle, Stage, dict[str, Any]]:
    """What a run on the devices that are here works with.

    Options with their layout and where the student begins, mesh, the weights that it starts from, stage, and the
    parameters as the stage gets them; all of them shapes, for which no tensor is read.
    """
    start = starting_weights(options)
    settled = fit.settled(with_start(options, start), jax.devices(), partial(step_sizes, start))
    mesh = sharding.make_mesh(settled.mesh)
    sharding.check_batch(mesh, options.batch_size, options.accumulate)
    stage = make_stage(settled, start.spec, mesh)
    return settled, mesh, start, stage, known_shapes(stage, start)


def compile_only(options: TrainOptions, report: Callable[[str], None]) -> None:
    """Compiles the step of a run into the cache of compiled programs, where the run finds it; writes nothing else."""
    _, mesh, _, stage, known = prepared(options)
    shapes = step.state_shapes(stage, known, mesh)
    began = time.monotonic()
    step.compile_step(stage, shapes, batch_shapes(options.data, options.batch_size), mesh)
    kind = f'{mesh.size} {mesh.devices.flat[0].platform} device{"s" if mesh.size > 1 else ""}'
    report(f'the step of {options.stage} is compiled for {kind}: {time.monotonic() - began:.1f} s')


def known_params(stage: Stage, start: Bundle) -> dict[str, Any]:
    """The weights as a stage gets them: the prompt extractor adapted, but for the stage that trains the adaptation.

    A student without what is its teacher's too.
    """
    params = (start if stage.adapts else bundles.adapted(start)).params
    if start.same and 'student' in params:
        return {**params, 'student': same.without(params['student'], start.same)}
    return params


def known_shapes(stage: Stage, start: Bundle) -> dict[str, Any]:
    """All that a stage gets, as shapes."""
    known = jax.eval_shape(lambda params: known_params(stage, dataclasses.replace(start, params=params)), start.params)
    return {**known, **distance_networks(stage)}


def tensors(options: TrainOptions, stage: Stage, start: Bundle, mesh: Mesh) -> dict[str, Any]:
    """The parameters as a stage gets them, of the parts that it needs, on the devices of `mesh`."""
    if not options.weights:
        return distance_networks(stage)
    found = bundles.load(options.weights, mesh=mesh, only=needed(stage, start))
    return {**known_params(stage, found), **distance_networks(stage)}


def needed(stage: Stage, start: Bundle) -> list[str]:
    """The parts of `start` whose numbers go into a stage's first state or its frozen parameters."""

    def made(params: Any) -> Any:
        known = {**known_params(stage, dataclasses.replace(start, params=params)), **distance_networks(stage)}
        return stage.init(jax.random.key(0), known), stage.freeze(known)

    traced = jax.make_jaxpr(made)(start.params).jaxpr
    read = {id(variable) for equation in traced.eqns for variable in equation.invars} | set(map(id, traced.outvars))
    marked = jax.tree.unflatten(jax.tree.structure(start.params), [id(v) in read for v in traced.invars])
    return [part for part, own in marked.items() if any(jax.tree.leaves(own))]


def distance_networks(stage: Stage) -> dict[str, Any]:
    """Networks that a stage's losses need and no weights hold, by part."""
    return {name: lpips.load('vgg') for name in stage.distances}


def abstract_start(options: TrainOptions) -> tuple[TrainOptions, Bundle]:
    """The options with the student's beginning settled, and what a run begins with, as shapes.

    Where the config names no weights: all parts of its size, and a student whose published set was trained.
    """
    if options.weights:
        start = starting_weights(options)
    else:
        spec = MODELS[options.size]
        params = bundles.expected(spec, parts_of(spec, options))
        shared = trees.flatten(trees.remove(params['student'], PATTERNS['image_attentions']))
        start = Bundle(spec, params, tokenizer_files.SHIPPED, {}, same=tuple(shared))
    return with_start(options, start), start


def abstract_step(options: TrainOptions, start: Bundle, mesh: Mesh) -> tuple[Stage, step.StateShapes]:
    """The run's stage, and the shapes of what its step takes beside the batch."""
    stage = make_stage(options, start.spec, mesh)
    return stage, step.state_shapes(stage, known_shapes(stage, start), mesh)


def step_sizes(start: Bundle, options: TrainOptions, devices: Sequence[Any]) -> fit.Sizes:
    """Bytes of what a step takes beside its batch, on one device that has all."""
    mesh = sharding.make_mesh('data:1', devices[:1])
    _, shapes = abstract_step(dataclasses.replace(options, remat='none'), start, mesh)
    width = jnp.dtype(sharding.compute_dtype(mesh, options.dtype)).itemsize
    trained = sum(leaf.size for leaf in jax.tree.leaves(shapes.state.params)) * width
    return fit.Sizes(state=trees.bytes_of(shapes.state), trained=trained, frozen=trees.bytes_of(shapes.frozen))


def parts_of(spec: ModelSpec, options: TrainOptions) -> list[str]:
    """The parts of a size that a step may need, whatever its stage; a small decoder only if it is asked for."""
    tiny = isinstance(options.objective, AddsrObjective) and options.objective.teacher_decoder == 'tiny'
    names = ('dino', 'dinov2', 'tiny_decoder') if tiny else ('dino', 'dinov2')
    optional = [part for part in names if getattr(spec, part) is not None]
    return ['prompt_extractor', 'autoencoder', 'text_encoder', 'teacher', 'student', *optional]


def make_stage(options: TrainOptions, spec: ModelSpec, mesh: Mesh) -> Stage:
    """The stage that the options name, with its objective and optimisers, computing on the devices of `mesh`."""
    stage = STAGES[options.stage].make(recipe_of(options, spec, mesh), options.objective)
    if options.precision == 'default':  # what JAX_DEFAULT_MATMUL_PRECISION says stays
        return stage
    exact = jax.default_matmul_precision(options.precision)
    return dataclasses.replace(stage, update=exact(stage.update), preview=exact(stage.preview))


def recipe_of(options: TrainOptions, spec: ModelSpec, mesh: Mesh) -> Recipe:
    """What a stage is made from, beside its objective."""
    optimizers = Optimizers(
        make_optimizer(options.optimizer, options.steps), make_optimizer(options.discriminator_optimizer, options.steps)
    )
    return Recipe(
        spec=spec,
        optimizers=optimizers,
        ema=options.ema,
        ema_warmup=options.ema_warmup,
        seed=options.seed,
        accumulate=options.accumulate,
        dtype=sharding.compute_dtype(mesh, options.dtype),
        remat=options.remat,
        attention=attention_of(options, mesh),
    )


def attention_of(options: TrainOptions, mesh: Mesh) -> str:
    """The kernel of attention that a run takes on the devices of `mesh`."""
    return chosen(options.attention, mesh.devices.flat[0], sharding.compute_dtype(mesh, options.dtype))


def starting_weights(options: TrainOptions) -> Bundle:
    """The bundle that a run starts from, with shapes for tensors: empty where the size can be trained from nothing."""
    spec = MODELS[options.size]
    if options.weights:
        found = bundles.described(options.weights)
        if found.spec.name != options.size:
            raise UserError(
                f'{options.weights} holds weights of size {found.spec.name} and the config asks for {options.size}: '
                f'write --config configs/{options.stage}.py:{found.spec.name}, or choose other --config.weights'
            )
        try:
            return dataclasses.replace(found, spec=bundles.completed_spec(found, spec))
        except UserError as error:
            raise UserError(f'{options.weights} does not fit the rest of size {options.size}: {error}') from error
    tokenizer = tokenizer_files.shipped(spec)
    if tokenizer is None:
        raise UserError(
            f'{options.stage} at size {options.size} starts from published weights: set --config.weights to a folder '
            f'that holds them, or train the small model with configs/{options.stage}.py:nano'
        )
    return bundles.empty(spec, tokenizer)


def with_start(options: TrainOptions, start: Bundle) -> TrainOptions:
    """The options with the student's beginning settled, where they leave it open.

    What stage `seesr` made holds a new teacher, and at best an older student; students of the embedded model's size
    begin as its teacher.
    """
    objective = options.objective
    if not isinstance(objective, AddsrObjective) or objective.start != 'auto':
        return options
    made_by = STAGES.get(start.info.get('stage', ''))
    of_teacher = (made_by is not None and made_by.part == 'teacher') or options.weights == 'nano'
    part = 'student' if 'student' in start.params and not of_teacher else 'teacher'
    return dataclasses.replace(options, objective=dataclasses.replace(objective, start=part))


def origin(options: TrainOptions) -> str:
    """What a run begins with, in words."""
    if not options.weights:
        return 'from nothing'
    part = options.objective.source if isinstance(options.objective, AddsrObjective) else ''
    whose = {'': 'from', 'teacher': 'the student begins as the teacher of', 'student': 'goes on from the student of'}
    return f'{whose[part]} {printable(options.weights, 4096)}'


def kept_training(options: TrainOptions, stage: Stage, start: Bundle) -> dict[str, Any]:
    """{'training': optimisers and discriminator beside the weights}, where the stage goes on from them; else {}.

    What another stage left there is no beginning for this one.
    """
    of_another = start.info.get('stage', options.stage) != options.stage
    if of_another or not stage.continues or not has_beside(options.weights, 'training'):
        return {}
    abstract = jax.eval_shape(stage.init, jax.random.key(options.seed), start.params)
    return {'training': load_beside(options.weights, 'training', resumable(abstract))}
