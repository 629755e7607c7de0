"""What a model predicts, the noise or the velocity, and its noise schedule: by what its own configuration says.

SeeSR and AddSR predict what they were trained to, whatever base they stand on; their published folders do not say it.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from addsr_jax import places
from addsr_jax.diffusion.schedule import alphas_cumprod
from addsr_jax.errors import UserError, printable
from addsr_jax.sizes import SD2
from addsr_jax.specs import ScheduleSpec
from addsr_jax.weights import published, reader
from addsr_jax.weights.stored import Stored
from addsr_jax.weights.wrappers import Say

WORDS = {'epsilon': 'the noise (epsilon)', 'v': 'the velocity (v)'}
BUFFER = 'alphas_cumprod'  # of a whole checkpoint
CLOSE = 2e-3  # between schedules, of which one may have been stored in half precision
METADATA = 'modelspec.prediction_type'  # a note in .safetensors files
LARGEST = 1 << 20  # bytes of a .yaml


def schedule(base: Path, unets: Sequence[Path], given: str | None, say: Say, *, trained: bool) -> ScheduleSpec:
    """The schedule of a model and what it predicts; a UserError where nothing says it and `given` does not either.

    base: folder or file of Stable Diffusion. unets: folders or files of those that are not the base's, and what they
    say of themselves counts. trained: they are of SeeSR and AddSR.
    """
    said = [found for found in map(_of_unet, unets) if found is not None]
    if len({spec for _, spec in said}) > 1:
        raise UserError(f'{said[0][0]} and {said[1][0]} have other schedules: teacher and student share one')
    place, found = said[0] if said else (base, _of_file(base) if places.kind(base) == 'file' else _of_folder(base))
    if given is not None:
        found = dataclasses.replace(found or SD2.schedule, prediction=given)
        say(f'the model predicts {WORDS[given]}, as --predicts says')
        return found
    if found is None:
        raise UserError(
            f'{base} does not say what its UNet predicts: put its .yaml beside it, or add --predicts epsilon (as '
            'stable-diffusion-2-base and sd-turbo) or --predicts v (as the 768-pixel models)'
        )
    if trained and not said and found.prediction == 'v':
        raise UserError(
            f'{base} is a v-prediction model (stable-diffusion-2 or 2-1 at 768 pixels), and SeeSR and AddSR as '
            'published predict the noise: give stable-diffusion-2-base, or add --predicts epsilon to take this base '
            'for its text encoder and autoencoder'
        )
    say(f'the model predicts {WORDS[found.prediction]}, as {place} says{_against(base, found) if said else ""}')
    return found


def _of_unet(unet: Path) -> tuple[Path, ScheduleSpec] | None:
    """(what says it, the schedule) of a UNet: its file, or the scheduler/ of the model whose unet/ it is."""
    if places.kind(unet) == 'file' and (found := _of_file(unet)) is not None:
        return unet, found
    own = unet.parent if places.kind(unet) == 'file' and unet.parent.name == 'unet' else unet
    model = own.parent
    return (model, _of_folder(model)) if own.stem == 'unet' and _has(model) else None


def _against(base: Path, found: ScheduleSpec) -> str:
    """That the base says another thing than its UNet's replacement, where it does."""
    try:
        said = _of_file(base) if places.kind(base) == 'file' else _of_folder(base) if _has(base) else None
    except UserError:  # nothing is taken from it
        return ''
    other = said is not None and said.prediction != found.prediction
    return f', whose UNet it is, and not {WORDS[said.prediction]}, as {base} says' if said and other else ''


def _has(place: Path) -> bool:
    return (place / 'scheduler' / published.SCHEDULER).exists()


def _of_folder(base: Path) -> ScheduleSpec:
    return published.schedule_spec(base / 'scheduler')


def _of_file(path: Path) -> ScheduleSpec | None:
    """Of a whole checkpoint, by the .yaml of its name beside it, or a note inside it; None where neither is there."""
    buffer = reader.open_file(path).get(BUFFER)
    if buffer is not None:
        wanted = alphas_cumprod(SD2.schedule)
        close = buffer.shape == wanted.shape and np.abs(_numbers(path, buffer) - wanted).max() <= CLOSE  # NaN is not
        if not close:
            raise UserError(f'{path} has another noise schedule than Stable Diffusion 2: it cannot be used')
    beside = path.with_suffix('.yaml')
    said = _of_yaml(beside) if beside.exists() else reader.metadata(path).get(METADATA)
    if said is None:
        return None
    prediction = {'eps': 'epsilon', 'epsilon': 'epsilon', 'v': 'v', 'v_prediction': 'v'}.get(said)
    if prediction is None:
        raise UserError(f'{path} predicts {printable(said)}: only epsilon and v are known')
    return dataclasses.replace(SD2.schedule, prediction=prediction)


def _numbers(path: Path, buffer: Stored) -> np.ndarray:
    return reader.read_tensor(path, BUFFER, buffer).astype(np.float32)


def _of_yaml(path: Path) -> str:
    """The line `parameterization:` of ldm's configuration; without one it is 'eps'."""
    try:
        text = places.read_text(path, LARGEST)
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): get it again') from error
    match = re.search(r"""^\s*parameterization:\s*["']?(\w+)""", text, re.MULTILINE)
    return match[1] if match else 'eps'
