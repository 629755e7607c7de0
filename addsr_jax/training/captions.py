"""Captions of a run: how many of its photographs have one, and those that it makes itself, kept beside it.

`WORKDIR/captions.json` has the tags of every photograph by its name. What is there is not tagged again.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from addsr_jax import atomic, json_file, options, processes
from addsr_jax.data.batches import photograph
from addsr_jax.data.sources import Source
from addsr_jax.errors import UserError, printable
from addsr_jax.training.options import TrainOptions
from addsr_jax.weights import tags
from addsr_jax.weights.bundle import Bundle

NAME = 'captions.json'
READ = ('seesr', 'addsr')  # stages that are told captions
EVERY = 60.0  # seconds from one writing of the file to the next
LARGEST = 1 << 30  # bytes of it


@dataclass(frozen=True)
class Captioned:
    """A source with captions by name in the place of its own; a photograph that has none there has an empty one."""

    source: Source
    captions: Mapping[str, str]

    @property
    def left_out(self) -> str:
        return self.source.left_out

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        record = self.source[index]
        return {**record, 'caption': self.captions.get(record['name'], '')}

    def name_of(self, index: SupportsIndex) -> str:
        return self.source.name_of(index)

    def captioned(self) -> int:
        return sum(map(bool, self.captions.values()))


def asked(run: TrainOptions) -> bool:
    """Whether a run makes its captions itself."""
    return _are_read(run) and run.data.captions == 'tag'


def _are_read(run: TrainOptions) -> bool:
    return run.stage in READ and run.data.null_text < 1


def said(run: TrainOptions, source: Source) -> str:
    """What the first line of a run says of its captions, behind the count of photographs; '' where that is nothing."""
    if asked(run):
        return ', with their tags as captions'
    if not _are_read(run) or run.data.captions != 'sidecar':
        return ''
    count = source.captioned()
    if count is None or count == len(source):
        return ''
    if count:
        return f', {count} of them with captions'
    return ' without captions (`addsr tag` makes some, or --config.data.captions=tag)'


def check(run: TrainOptions, start: Bundle) -> None:
    """A UserError where tags are asked for and the weights cannot say any."""
    if asked(run):
        try:
            tags.of_weights(start, run.weights or f'nothing (size {run.size})')
        except UserError as error:
            raise UserError(f'--config.data.captions=tag: {error}') from error


def tagged(run: TrainOptions, source: Source, workdir: Path, report: Callable[[str], None]) -> Captioned:
    """The source with its photographs' tags, by RAM in the run's weights; one process makes them, all read them."""
    path = workdir / NAME
    if processes.first():
        _complete(path, source, lambda: tags.captioner(run.weights), report)
    processes.wait('captions')
    return Captioned(source, _read(path))


def _complete(
    path: Path,
    source: Source,
    make_captioner: Callable[[], Callable[[np.ndarray], str]],
    report: Callable[[str], None],
) -> None:
    """Tags of all photographs that the file lacks: '' of a file that is no usable picture; what could not be read is
    not written, and tried again by the next start."""
    captions = _read(path) if path.exists() else {}
    missing = [i for i in range(len(source)) if source.name_of(i) not in captions]
    if not missing:
        return
    report(f'tagging {len(missing)} photographs; {path} keeps their captions')
    caption_of, written, unread = make_captioner(), time.monotonic(), 0
    for done, index in enumerate(missing, 1):
        try:
            image = _usable(source[index])
        except Exception:  # whatever a disk or a data set raises: training names it when it replaces it
            unread += 1
        else:
            captions[source.name_of(index)] = '' if image is None else caption_of(image)
        if time.monotonic() - written > EVERY:
            atomic.write_json(path, captions, ensure_ascii=False)
            report(f'[{done}/{len(missing)}] photographs tagged')
            written = time.monotonic()
    atomic.write_json(path, captions, ensure_ascii=False)
    if unread:
        report(
            f'{unread} of {len(missing)} photographs could not be read, and have no tags until a start can read them'
        )


def _usable(record: dict[str, Any]) -> np.ndarray | None:
    """uint8 [H, W, 3]; None where training takes another one for what is in the file."""
    try:
        return photograph(record)
    except UserError:
        return None


def _read(path: Path) -> dict[str, str]:
    try:
        return options.typed(dict[str, str], json_file.of_file(path, largest=LARGEST), str(path))
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): remove it, and it is made again') from error
