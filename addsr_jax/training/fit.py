"""Which mesh and which remat a run takes where its config says 'auto': the first that fits the devices' memory.

Four layouts in the order of what they cost: everything whole on every device, for nothing; state and weights split over
all devices, for gathering them in every step; then recomputed blocks, and whole networks, for their FLOPs. The figures
of activations are `addsr plan`'s for the sizes of configs/ (docs/tpu.md); a size without figures is small enough.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from addsr_jax.chips import chip_of
from addsr_jax.errors import UserError
from addsr_jax.training.options import TrainOptions

SPARE = 10**9  # bytes of each device that stay free
WHOLE, SPLIT = 'data:-1', 'fsdp:-1'
LAYOUTS = ((WHOLE, 'none'), (SPLIT, 'none'), (SPLIT, 'blocks'), (SPLIT, 'full'))
# Bytes of activations for a pixel of the target, by size, stage and remat.
ACTIVATIONS = {
    ('sd2', 'addsr'): {'none': 18_200, 'blocks': 5_500, 'full': 5_000},
    ('sd2', 'seesr'): {'none': 8_000, 'blocks': 3_000, 'full': 3_000},
    ('sd2', 'autoencoder'): {'none': 14_000, 'blocks': 8_000, 'full': 8_000},
    ('sd2', 'dape'): {'none': 8_000, 'blocks': 3_000, 'full': 3_000},
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
    if memory is None:
        wanted = (WHOLE, 'none')
    else:
        found = sizes(options, devices)
        free = (layout for layout in LAYOUTS if allowed(options, layout))
        wanted = next(
            (layout for layout in free if needed(options, found, layout, len(devices)) <= memory - SPARE), None
        )
        if wanted is None:
            raise UserError(too_large(options, found, len(devices), memory))
    return dataclasses.replace(
        options,
        mesh=wanted[0] if options.mesh == 'auto' else options.mesh,
        remat=wanted[1] if options.remat == 'auto' else options.remat,
    )


def allowed(options: TrainOptions, layout: tuple[str, str]) -> bool:
    """Whether a layout is what the config says, where it says anything."""
    mesh, remat = layout
    split = 'fsdp' in options.mesh
    return (options.mesh == 'auto' or split == (mesh == SPLIT)) and options.remat in ('auto', remat)


def needed(options: TrainOptions, sizes: Sizes, layout: tuple[str, str], devices: int) -> int:
    """Bytes on each device, about: what lies there, what is gathered, gradients, and activations."""
    mesh, remat = layout
    shares = devices if mesh == SPLIT else 1
    lying = (sizes.state + sizes.frozen) // shares
    # gathered weights and whole gradients; of what is gathered about half lives at a time
    passing = (sizes.frozen + 2 * sizes.trained) // 2 if shares > 1 else 2 * sizes.trained
    images = -(-options.batch_size // (devices * options.accumulate))
    figures = ACTIVATIONS.get((options.size, options.stage))
    activations = images * options.data.hr_size**2 * figures[remat] if figures else 0
    return lying + passing + activations


def too_large(options: TrainOptions, sizes: Sizes, devices: int, memory: int) -> str:
    """What is needed, and the batch that fits."""
    least = needed(options, sizes, LAYOUTS[-1], devices)
    smaller = dataclasses.replace(options, batch_size=devices * options.accumulate)
    fits = needed(smaller, sizes, LAYOUTS[-1], devices) <= memory - SPARE
    advice = f'--config.batch_size={smaller.batch_size} fits' if fits else 'more devices are needed, or trainable=lora'
    return (
        f'{options.stage} at batch {options.batch_size} needs about {least / 1e9:.1f} GB on each of {devices} devices, '
        f'which have {memory / 1e9:.1f}: {advice}; with --config.mesh and --config.remat it is tried all the same'
    )
