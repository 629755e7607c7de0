"""Which mesh and which remat a run takes where its config says 'auto': the first that fits the devices' memory.

In the order of what they cost: everything whole on every device, for nothing; state and weights split over all devices,
for gathering them in every step; then both again with recomputed blocks, and with whole networks, for their FLOPs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from addsr_jax.chips import chip_of
from addsr_jax.errors import UserError
from addsr_jax.sharding import axes
from addsr_jax.training.options import REMATS, TrainOptions

SPARE = 10**9  # bytes of each device that stay free
WHOLE, SPLIT = 'data:-1', 'fsdp:-1'
# Bytes of activations for a pixel of the target, by size, stage and remat; a size without figures is small enough. From
# docs/plans: addsr with none and blocks, seesr with none. The others are guesses on the large side.
ACTIVATIONS = {
    ('sd2', 'addsr'): {'none': 21_000, 'blocks': 5_500, 'full': 5_000},
    ('sd2', 'seesr'): {'none': 10_300, 'blocks': 3_000, 'full': 3_000},
    ('sd2', 'autoencoder'): {'none': 14_000, 'blocks': 8_000, 'full': 8_000},
    ('sd2', 'dape'): {'none': 8_000, 'blocks': 3_000, 'full': 3_000},
    ('sd2', 'tiny_decoder'): {'none': 8_000, 'blocks': 5_000, 'full': 5_000},
}


@dataclass(frozen=True)
class Sizes:
    """Bytes of one whole copy."""

    state: int  # float32: parameters, their average, moments
    trained: int  # of it the parameters, in the dtype of compute
    frozen: int


def settled(options: TrainOptions, devices: Sequence[Any], sizes: Callable[[TrainOptions, Any], Sizes]) -> TrainOptions:
    """The options with a mesh and a remat for these devices; `sizes` is asked only where they say their memory."""
    if 'auto' not in (options.mesh, options.remat):
        return options
    memory = chip_of(devices[0]).memory
    candidates = layouts(options, len(devices))
    if memory is None:
        chosen = candidates[0]
    else:
        found, count = sizes(options, devices), len(devices)
        fitting = (layout for layout in candidates if needed(options, found, layout, count) <= memory - SPARE)
        chosen = next(fitting, None)
        if chosen is None:
            raise UserError(too_large(options, found, candidates[-1], count, memory))
    return dataclasses.replace(options, mesh=chosen[0], remat=chosen[1])


def layouts(options: TrainOptions, devices: int) -> list[tuple[str, str]]:
    """(mesh, remat) in the order of what they cost, as far as the config leaves them open; one device is not split."""
    meshes = ((WHOLE, SPLIT) if devices > 1 else (WHOLE,)) if options.mesh == 'auto' else (options.mesh,)
    remats = REMATS if options.remat == 'auto' else (options.remat,)
    return [(mesh, remat) for remat in remats for mesh in meshes]


def needed(options: TrainOptions, sizes: Sizes, layout: tuple[str, str], devices: int) -> int:
    """Bytes on each device, about: what lies there, what is gathered, gradients, and activations."""
    mesh, remat = layout
    shares = axes(mesh, devices).get('fsdp', 1)
    lying = (sizes.state + sizes.frozen) // shares
    # gathered weights and whole gradients; of what is gathered about half lives at a time
    passing = (sizes.frozen + 2 * sizes.trained) // 2 if shares > 1 else 2 * sizes.trained
    images = -(-options.batch_size // (devices * options.accumulate))
    figures = ACTIVATIONS.get((options.size, options.stage))
    activations = images * options.data.hr_size**2 * figures[remat] if figures else 0
    return lying + passing + activations


def largest_batch(
    options: TrainOptions, sizes: Sizes, layout: tuple[str, str], devices: int, memory: int
) -> int | None:
    """The largest batch below the config's that fits and that devices and micro-batches divide; None: not one does."""
    step = devices * options.accumulate
    for batch in range((options.batch_size - 1) // step * step, 0, -step):
        if needed(dataclasses.replace(options, batch_size=batch), sizes, layout, devices) <= memory - SPARE:
            return batch
    return None


def too_large(options: TrainOptions, sizes: Sizes, layout: tuple[str, str], devices: int, memory: int) -> str:
    """What is needed, and the batch that fits."""
    least = needed(options, sizes, layout, devices)
    less = ', or --config.objective.trainable=lora' if hasattr(options.objective, 'lora_rank') else ''
    fits = largest_batch(options, sizes, layout, devices, memory)
    advice = f'--config.batch_size={fits} fits' if fits else f'more devices are needed{less}'
    return (
        f'{options.stage} at batch {options.batch_size} needs about {least / 1e9:.1f} GB on each of {devices} devices, '
        f'which have {memory / 1e9:.1f}: {advice}; with --config.mesh and --config.remat it is tried all the same'
    )
