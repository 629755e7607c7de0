"""A run from its config: plain data to checked dataclasses, one call of the loop, and `final/`."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from addsr_jax import sharding
from addsr_jax.data import sources
from addsr_jax.data.batches import DataConfig, described, make_batches
from addsr_jax.data.held_out import held_out_batch
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.errors import UserError
from addsr_jax.specs import MODELS, ModelSpec
from addsr_jax.stages.base import Optimizers, Recipe, Stage, resumable
from addsr_jax.stages.table import STAGES
from addsr_jax.training import config as config_file
from addsr_jax.training.config import Config
from addsr_jax.training.loop import LoopConfig, check, train
from addsr_jax.training.optimizers import OptimizerConfig, make_optimizer
from addsr_jax.weights import bundle as bundles
from addsr_jax.weights.bundle import Bundle


def run(config: Config, workdir: Path, report: Callable[[str], None]) -> None:
    """Trains or resumes; everything that can be refused is refused before `workdir` is touched."""
    mesh = sharding.make_mesh(config.mesh)
    loop, data = loop_config(config), data_config(config)
    start = starting_weights(config)
    stage = make_stage(config, start.spec)
    check(stage, loop, mesh)
    known = known_params(stage, start)
    stage.freeze(known)  # names the parts that the weights lack
    training = kept_training(config, stage, start)
    source = sources.open_source(data.source, data.path)
    tokenizer = load_tokenizer(start.tokenizer)
    batches = make_batches(data, source, tokenizer, jax.process_index(), jax.process_count())
    held_out = None
    if loop.eval_every or loop.preview_every:
        photographs = sources.folder(config.evaluation.path) if config.evaluation.path else sources.held_out()
        held_out = held_out_batch(
            photographs,
            config.evaluation.images,
            data.hr_size,
            data.degradation,
            start.spec.prompts.student_added,
            tokenizer,
        )
    config_file.claim(workdir, config)
    kind = mesh.devices.flat[0].platform
    report(
        f'{config.stage}, size {config.size}: {loop.steps} steps of {loop.batch_size} images from {len(source)} '
        f'photographs on {mesh.size} {kind} device{"s" if mesh.size > 1 else ""}'
    )
    if source.left_out:
        report(f'{len(source)} photographs in {data.path}, left out: {source.left_out}')
    result = train(
        stage,
        {**known, **training},
        batches,
        loop,
        workdir=workdir,
        mesh=mesh,
        seed=config.seed,
        held_out=held_out,
        record_name=lambda index: described(source, index),
        report=report,
    )
    if result.finished:
        first = {name: value for name, value in next(batches(0)).items() if name != 'replaced'}
        spec = stage.spec_update(result.state, result.frozen, sharding.put_batch(first, mesh))
        params = stage.export(result.state, start.params)
        final = bundles.merged(start, params, spec, config_file.describe(config))
        bundles.save(final, workdir / 'final', 'orbax', beside={'training': resumable(result.state)})
        report(f'{workdir / "final"} holds the result')


def known_params(stage: Stage, start: Bundle) -> dict[str, Any]:
    """The weights as a stage gets them: the prompt extractor adapted, but for the stage that trains the adaptation."""
    return (start if stage.adapts else bundles.adapted(start)).params


def loop_config(config: Config) -> LoopConfig:
    return LoopConfig(
        steps=config.steps,
        batch_size=config.batch_size,
        accumulate=config.accumulate,
        checkpoint_every=config.checkpoint_every,
        keep=config.keep,
        eval_every=config.eval_every,
        log_every=config.log_every,
        preview_every=config.preview_every,
        profile_start=config.profile.start,
        profile_steps=config.profile.steps,
    )


def data_config(config: Config) -> DataConfig:
    return DataConfig(batch_size=config.batch_size, seed=config.seed, **config.data.to_dict())


def make_stage(config: Config, spec: ModelSpec) -> Stage:
    """The stage that the config names, with its objective and optimisers."""
    kind = choose(STAGES, config.stage, 'stage')
    auto = jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16  # on CPU bfloat16 is only slower
    dtypes = {'auto': auto, 'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
    player = OptimizerConfig(**config.optimizer.to_dict())
    judge = OptimizerConfig(**config.discriminator_optimizer.to_dict())
    if not 0 <= config.ema < 1:
        raise UserError(f'--config.ema is {config.ema}: a decay lies in 0..1, 1 excluded')
    recipe = Recipe(
        spec=spec,
        optimizers=Optimizers(make_optimizer(player, config.steps), make_optimizer(judge, config.steps)),
        ema=config.ema,
        seed=config.seed,
        accumulate=config.accumulate,
        dtype=choose(dtypes, config.dtype, 'dtype'),
    )
    return kind.make(recipe, kind.objective(**config.objective.to_dict()))


def starting_weights(config: Config) -> Bundle:
    """The bundle that a run starts from: empty where the size can be trained from nothing."""
    spec = choose(MODELS, config.size, 'size')
    if config.weights:
        found = bundles.load(config.weights)
        if found.spec.name != config.size:
            raise UserError(
                f'{config.weights} holds weights of size {found.spec.name} and the config asks for {config.size}: '
                f'write --config configs/{config.stage}.py:{found.spec.name}, or choose other --config.weights'
            )
        return dataclasses.replace(found, spec=bundles.completed_spec(found, spec))
    tokenizer = bundles.shipped_tokenizer(spec)
    if tokenizer is None:
        raise UserError(
            f'{config.stage} at size {config.size} starts from published weights: set --config.weights to a folder '
            f'that holds them, or train the small model with configs/{config.stage}.py:nano'
        )
    return bundles.empty(spec, tokenizer)


def kept_training(config: Config, stage: Stage, start: Bundle) -> dict[str, Any]:
    """{'training': optimisers and discriminator beside the weights}, where the stage goes on from them; else {}."""
    if not stage.continues or not bundles.has_beside(config.weights, 'training'):
        return {}
    abstract = jax.eval_shape(stage.init, jax.random.key(config.seed), start.params)
    return {'training': bundles.load_beside(config.weights, 'training', resumable(abstract))}


def choose(table: Mapping[str, Any], name: str, key: str) -> Any:
    """table[name]; a UserError names the choices."""
    if name not in table:
        raise UserError(f'--config.{key} is {name!r}: choose one of {", ".join(table)}')
    return table[name]
