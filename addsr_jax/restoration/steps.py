"""One picture step by step: all of it as it stands after each of the sampler's steps."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from addsr_jax.errors import UserError
from addsr_jax.restoration import stream, views
from addsr_jax.restoration.cut import Cut
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import is_out_of_memory


class Model(Protocol):
    """What of `Pipeline` is used here."""

    def call_steps(self, tiles: Sequence[tuple[Cut, int]], size: int) -> Iterator[np.ndarray]: ...

    def whole_calls(self, tiles: int) -> int: ...

    def steps_of(self, settings: Settings) -> int: ...

    def joined(self, cut: Cut, canvas: Any) -> np.ndarray: ...


def restored(model: Model, cut: Cut, progress: stream.Progress | None = None) -> Iterator[np.ndarray]:
    """The enlarged picture, then what stands after each step, uint8 or uint16 as given; the last is the result.

    progress: as of `Pipeline.upscale`; every tile counts once a step. UserError where there are no such steps, or no
    memory for them: tiles are not made smaller here.
    """
    check(cut.settings)
    height, width = cut.given.shape[:2]
    yield views.sized(cut.given, *cut.settings.size(width, height))
    size = model.whole_calls(min(cut.settings.batch, cut.count))
    groups = [range(first, min(first + size, cut.count)) for first in range(0, cut.count, size)]
    calls = [model.call_steps([(cut, i) for i in group], size) for group in groups]
    count = model.steps_of(cut.settings)
    told = stream.Counted(progress, count * cut.count)
    for _ in range(count):
        canvas = cut.canvas()
        for group, call in zip(groups, calls, strict=True):
            for i, image in zip(group, _next(call), strict=False):
                canvas.add(i, image)
            told.more(len(group))
        yield model.joined(cut, canvas)


def check(settings: Settings) -> None:
    """Refuses settings whose pictures have no steps to look at."""
    if not settings.of_method.refines:
        raise UserError(f'method {settings.method} predicts no picture at every step: choose one that refines')
    if settings.tta:
        raise UserError('tta is the mean of four results, without steps of its own: leave it out')
    if settings.encoder_tile or settings.decoder_tile:
        raise UserError('steps are of pictures that the autoencoder sees whole: leave out encoder_tile, decoder_tile')


def _next(call: Iterator[np.ndarray]) -> np.ndarray:
    """The next step's images [size, h, w, 3] of a call."""
    try:
        return next(call)
    except jax.errors.JaxRuntimeError as error:
        if is_out_of_memory(error):
            raise UserError('there is no memory for the steps of this picture: choose a smaller one') from error
        raise
