"""What every stage of training is: a few pure functions, a state, and the names of what it trains.

The loop knows nothing else. `update` gets the state, the frozen networks and a batch
{'hr': [B, H, W, 3] in [-1, 1], 'lq': the same size and range, 'tokens': [B, 77] int32}.
"""

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from addsr_jax import trees
from addsr_jax.errors import UserError
from addsr_jax.specs import ModelSpec
from addsr_jax.trees import Tree

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]


@struct.dataclass
class State:
    """Everything that training changes, and nothing else."""

    step: jax.Array  # [] int32, updates done
    student: Tree  # trained leaves only, float32
    ema: Tree  # exponential moving average of `student`
    optimizer: Tree
    discriminator: Tree  # {'params', 'spectral'}, or None
    discriminator_optimizer: Tree  # or None


@dataclass(frozen=True)
class Optimizers:
    student: optax.GradientTransformation
    discriminator: optax.GradientTransformation


@dataclass(frozen=True)
class Recipe:
    """What every stage is made from, whatever its objective."""

    spec: ModelSpec
    optimizers: Optimizers
    ema: float  # decay of the exponential moving average, 0..1
    seed: int  # root of all random numbers
    accumulate: int  # micro-batches an update is split into
    dtype: Any  # of compute; what is trained stays float32


@dataclass(frozen=True)
class Stage:
    """`init` and `update` are pure and not jitted; `freeze` and `export` only pick and merge trees."""

    name: str
    init: Callable[[jax.Array, Tree], State]  # (key, bundle) -> state; never aliases its inputs
    freeze: Callable[[Tree], Tree]  # bundle -> frozen networks, in the dtype that they compute in
    update: Callable[[State, Tree, Batch], tuple[State, Metrics]]
    preview: Callable[[State, Tree, Batch], dict[str, jax.Array]]  # name -> images [B, H, W, 3] in [-1, 1], as shown
    judged: str  # the picture of `preview` that is scored against its 'HR'; '' where a stage makes no pictures
    export: Callable[
        [State, Tree], Tree
    ]  # (state, bundle it started from) -> the parts that changed, EMA weights; None: drop it
    spec_update: Callable[[State, Tree, Batch], ModelSpec]  # the spec that `final/` records
    continues: bool = False  # `init` takes the 'training' part that an earlier `final/` keeps beside its weights
    adapts: bool = False  # works on the prompt extractor's low-rank adaptation, which it gets apart from the weights


@dataclass(frozen=True)
class StageKind:
    """How the door makes a stage: the dataclass of its objective, and the maker."""

    objective: type
    make: Callable[[Recipe, Any], Stage]


def pick(bundle: Tree, parts: tuple[str, ...], stage: str) -> Tree:
    """These parts of a bundle; a UserError names those it lacks."""
    missing = [part for part in parts if part not in bundle]
    if missing:
        raise UserError(
            f'stage {stage} needs {", ".join(missing)}, which --config.weights does not hold: '
            'train the earlier stages first, or convert weights that have them'
        )
    return {part: bundle[part] for part in parts}


def copy(tree: Tree, dtype: Any = jnp.float32) -> Tree:
    """A copy in new buffers, so that a donated state never shares memory with its source."""
    return jax.tree.map(lambda x: jnp.copy(x.astype(dtype)), tree)


def stream(key: jax.Array, name: str) -> jax.Array:
    """The key of a named stream of random numbers."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def per_sample(key: jax.Array, name: str, batch: int, draw: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """`draw` with one key per sample: sample i gets the same numbers whatever the batch it stands in."""
    named = stream(key, name)
    return jax.vmap(lambda i: draw(jax.random.fold_in(named, i)))(jnp.arange(batch))


def ema_update(ema: Tree, student: Tree, decay: float, step: jax.Array) -> Tree:
    """ema <- d ema + (1 - d) student; d grows as (1 + step) / (10 + step) up to `decay`."""
    d = jnp.minimum(decay, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda e, s: e * d + s * (1 - d), ema, student)


def apply_gradients(
    optimizer: optax.GradientTransformation, gradients: Tree, state: Tree, params: Tree
) -> tuple[Tree, Tree]:
    """(new parameters, new optimiser state)."""
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, updates), state


def accumulated(
    loss: Callable[[Tree, Tree], tuple[jax.Array, Metrics]], params: Tree, samples: Tree, micro_batches: int
) -> tuple[Tree, Metrics]:
    """Mean gradient and mean metrics of `loss(params, samples) -> (loss [B], metrics)` over equal micro-batches.

    `samples` is a tree of arrays whose first axis is the batch (data and draws alike), so M micro-batches
    equal one batch to float32 rounding.
    """

    def mean_loss(p, part):
        value, metrics = loss(p, part)
        return value.mean(), metrics

    gradient = jax.value_and_grad(mean_loss, has_aux=True)
    if micro_batches == 1:
        (value, metrics), grads = gradient(params, samples)
        return grads, {**metrics, 'loss': value}
    parts = split(samples, micro_batches)
    shapes = jax.eval_shape(gradient, params, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradient(params, part)), None

    total, _ = jax.lax.scan(add, zeros, parts)
    (value, metrics), grads = jax.tree.map(lambda x: x / micro_batches, total)
    return grads, {**metrics, 'loss': value}


def split(samples: Tree, micro_batches: int) -> Tree:
    """[B, ...] leaves as [M, B / M, ...]; sample i of a shard stays on its device (i = b * M + m)."""
    return jax.tree.map(lambda x: x.reshape(-1, micro_batches, *x.shape[1:]).swapaxes(0, 1), samples)


def join(parts: Tree) -> Tree:
    """The inverse of `split`."""
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), parts)


def simple_update(
    loss: Callable[[Tree, Tree, Tree], tuple[jax.Array, Metrics]],
    draw: Callable[[jax.Array, Batch], Tree],
    recipe: Recipe,
) -> Callable[[State, Tree, Batch], tuple[State, Metrics]]:
    """The update of a stage with one player: `loss(trained, frozen, {batch and draws}) -> (loss [B], metrics)`."""

    def update(state: State, frozen: Tree, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
        samples = {'batch': batch, 'draws': draw(key, batch)}
        grads, metrics = accumulated(lambda p, s: loss(p, frozen, s), state.student, samples, recipe.accumulate)
        student, optimizer = apply_gradients(recipe.optimizers.student, grads, state.optimizer, state.student)
        metrics = {**metrics, 'gradient_norm': optax.tree.norm(grads)}
        return dataclasses.replace(
            state,
            step=state.step + 1,
            student=student,
            ema=ema_update(state.ema, student, recipe.ema, state.step),
            optimizer=optimizer,
        ), metrics

    return update


def resumable(state: State) -> Tree:
    """What `final/` keeps beside the weights, as its 'training' part: optimisers and discriminator."""
    kept = {
        'optimizer': state.optimizer,
        'discriminator': state.discriminator,
        'discriminator_optimizer': state.discriminator_optimizer,
    }
    return {name: value for name, value in kept.items() if value is not None}


def resumed(state: State, training: Tree) -> State:
    """A first state with the 'training' part of an earlier run; learning rates start over, moments do not."""
    schedule = optax.ScaleByScheduleState

    def rewound(leaf: Any) -> Any:
        return schedule(jnp.zeros_like(leaf.count)) if isinstance(leaf, schedule) else jnp.copy(leaf)

    parts = jax.tree.map(rewound, training, is_leaf=lambda leaf: isinstance(leaf, schedule))
    return dataclasses.replace(state, **parts)


def simple_state(student: Tree, optimizer: optax.GradientTransformation) -> State:
    """The first state of a stage without a discriminator."""
    return State(
        step=jnp.zeros((), jnp.int32),
        student=student,
        ema=copy(student),
        optimizer=optimizer.init(student),
        discriminator=None,
        discriminator_optimizer=None,
    )


def whole(trained: Tree, frozen: Tree) -> Tree:
    """Trained leaves laid over the frozen rest of the same networks."""
    return trees.overlay(frozen, trained)
