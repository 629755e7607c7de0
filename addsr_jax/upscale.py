"""addsr upscale: photographs, four times larger and sharp.

python -m addsr_jax.upscale PHOTO... -o OUTPUT
"""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from addsr_jax import __version__
from addsr_jax.data import formats
from addsr_jax.errors import Incomplete, UserError, guard
from addsr_jax.flags import Parser, take
from addsr_jax.options import Options, option, unusual
from addsr_jax.restoration import fidelity
from addsr_jax.restoration.computing import MACHINE, Computing
from addsr_jax.restoration.settings import FINISH, LARGE, OF_FINISH, RESULT, SAMPLING, SCALE, WORDS, Settings
from addsr_jax.telling import Telling, memory_of, telling

if TYPE_CHECKING:
    from addsr_jax.restoration.files import Job, Making
    from addsr_jax.restoration.folder import How

LONGEST_SUFFIX = 200  # bytes, beside which a name, a digest and an ending find room in a file's name


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `upscale` takes beside the settings of a picture."""

    output: Path = option(
        'folder for the results, or a file for one image: its ending says the kind', short='o', bucket=True
    )
    format: str | None = option(
        'kind of the results',
        default=None,
        unset="the image's own where it holds the result, else png",
        choices=tuple(ending[1:] for ending in formats.WRITABLE),
    )
    suffix: str | None = option(
        "what follows the image's name in the result's",
        default=None,
        unset='_x4, or the size that was asked for',
        blank=True,
        group=RESULT,
    )
    quality: int = option(
        'of JPEG, WebP, AVIF and HEIC; 100: WebP without loss', default=95, low=1, high=100, group=RESULT
    )
    compression: int = option(
        'of PNG and TIFF, which lose nothing; 0: none, 9: smallest and slowest',
        default=6,
        low=0,
        high=9,
        group=RESULT,
    )
    weights: str = option("'nano', a folder of training or convert, or ORG/NAME[@REVISION] of a hub", default='nano')
    overwrite: bool = option('replace existing results', default=False)
    resume: bool = option('leave existing results of any settings as they are, and do the rest', default=False)
    no_metadata: bool = option(
        'leave EXIF, XMP, texts, resolution and what made the result out of it; colour profiles stay',
        default=False,
        group=RESULT,
    )
    max_pixels: int = option(
        'an image of more is not read', default=formats.LIMIT, low=1, high=2**40, unit='pixels', group=LARGE
    )
    memory: float | None = option(
        'the most that is taken for tiles, and on a CPU for pictures',
        default=None,
        unset='most of what is free',
        low=0.05,
        high=10_000,
        unit='GB',
        group=LARGE,
    )
    quiet: bool = option('say nothing but what went wrong', default=False)
    json: bool = option('say what happens as lines of JSON', default=False)
    no_tags: bool = option("leave the picture's tags out of the prompt", default=False, group=WORDS)
    tag_list: Path | None = option(
        'ram_tag_list.txt of another RAM than the published one',
        default=None,
        unset="the weights' own, if they have one",
        group=WORDS,
    )
    thresholds: Path | None = option('ram_tag_list_threshold.txt, with tag_list', default=None, group=WORDS)
    distributed: bool = option(
        'share the pictures with the other processes of this TPU slice or cluster', default=False, group=MACHINE
    )
    processes: int | None = option(
        'that share the pictures, where nothing tells them of each other',
        default=None,
        low=1,
        high=100_000,
        unset='',
        group=MACHINE,
    )
    process: int | None = option(
        'which of them this is, from 0', default=None, low=0, high=99_999, unset='', group=MACHINE
    )

    @property
    def count(self) -> int:
        """Processes that share the pictures."""
        import jax

        return jax.process_count() if self.distributed else self.processes or 1

    @property
    def first(self) -> int:
        """This one's number, and its first picture's."""
        import jax

        return jax.process_index() if self.distributed else self.process or 0

    def check_together(self) -> None:
        if set(self.suffix or '') & {'/', '\\', '\0'}:
            raise UserError(f'--suffix is {self.suffix!r}: it is part of a name, and holds no slash')
        if len(os.fsencode(self.suffix or '')) > LONGEST_SUFFIX:
            raise UserError(
                f'--suffix has more than {LONGEST_SUFFIX} bytes: names are not that long, give a shorter one'
            )
        if self.quiet and self.json:
            raise UserError('--quiet says nothing and --json says all as JSON: give one')
        if self.resume and self.overwrite:
            raise UserError('--resume leaves results and --overwrite replaces them: give one')
        if (self.processes is None) != (self.process is None) or (self.distributed and self.processes is not None):
            raise UserError('give --processes N with --process I, or --distributed alone')
        if self.processes is not None and self.process is not None and self.process >= self.processes:
            raise UserError(f'--process is {self.process} of {self.processes}: it counts from 0')
        if (self.tag_list is None) != (self.thresholds is None):
            raise UserError('--tag_list and --thresholds belong together: give both, or none')
        if self.no_tags and self.tag_list is not None:
            raise UserError('--no_tags leaves out what --tag_list is for: give one of them')


def parser() -> Parser:
    p = Parser('upscale', 'Upscales image files, and all images of folders: photo.jpg becomes OUTPUT/photo_x4.jpg.')
    p.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image files, folders with all below them, patterns in quotes, or - for a list on stdin',
    )
    p.order(RESULT, SAMPLING, FINISH, WORDS, LARGE, MACHINE)
    p.declare(Command)
    p.declare(Computing)
    p.declare(Settings, without=('tags',))
    return p


def check_words(arguments: Sequence[str]) -> None:
    """Refuses files that look like options."""
    for word in arguments:
        if word[:1] == '-' and word != '-' and os.path.lexists(word):
            raise UserError(f'{word} begins with a dash, as options do: write ./{word}')
        if word.startswith('-output'):
            raise UserError(f'{word} would be -o {word[2:]}: write -{word}')


def main(arguments: Sequence[str]) -> None:
    check_words(arguments)
    values = parser().parse_args(arguments)
    command, settings, computing = take(values, Command), take(values, Settings), take(values, Computing)
    settings = replace(settings, tags='') if command.no_tags else settings
    from addsr_jax import processes
    from addsr_jax.restoration import files, room

    told = telling(quiet=command.quiet, as_json=command.json)
    naming = files.Naming(command.output, command.format, command.suffix)
    jobs, left_out = files.plan_jobs(values.inputs, naming, settings, command.max_pixels)
    if left_out:
        told.note(left_out)
    if command.distributed:
        processes.join(None, None, None)
    with processes.until_all_are_done('all pictures'):
        share = jobs[command.first :: command.count]
        made_by = partial(making, command, asked_for(command, computing, settings))
        todo = files.remaining(share, made_by, overwrite=command.overwrite, resume=command.resume)
        if len(todo) < len(share):
            told.there = len(share) - len(todo)
            told.note(f'{told.there} of {len(share)} results are there already')
        if not todo:
            told.nothing()
        else:
            room.check_disk(todo)
            restore_all(todo, made_by, command, computing, settings, told, alone=len(jobs) == 1)


def asked_for(command: Command, computing: Computing, settings: Settings) -> dict[str, Any]:
    """What results say of how they were asked for, whatever memory makes of it; of files that play a part, a hash."""
    from addsr_jax import places
    from addsr_jax.data.pictures import content_of
    from addsr_jax.weights import model_file
    from addsr_jax.weights.bundle import NANO

    files = {'tag_list': command.tag_list, 'thresholds': command.thresholds}
    files |= {'model': places.place(command.weights) / model_file.NAME}  # trained on, weights keep their name
    there = {name: path for name, path in files.items() if path is not None and places.kind(path) == 'file'}
    read = {name: places.read_bytes(path) for name, path in there.items()}
    record = places.read_bytes(NANO / model_file.NAME) if command.weights == 'nano' else read.get('model', b'')
    contents = {name: content_of(data) for name, data in read.items()}
    return {**unusual(without_own(settings, model_file.view(record))), **unusual(computing), **contents}


def without_own(settings: Settings, view: Mapping[str, Any]) -> Settings:
    """As if nothing had been said of what the model does by itself; its `view` is empty where it is not at hand."""
    usual: dict[str, Any] = {'scale': SCALE}
    if settings.fidelity is None and settings.of_method.refines:
        own = {'steps': 'student_steps', **{name: name for name in OF_FINISH}}
        usual |= {name: view[field] for name, field in own.items() if field in view}
    return replace(settings, **{name: None for name, value in usual.items() if getattr(settings, name) == value})


def making(command: Command, given: dict[str, Any], job: 'Job', content: str) -> str | None:
    """What a result says of its making. content: the hash of the picture's file."""
    from addsr_jax.data.formats import WRITTEN
    from addsr_jax.restoration import results

    if command.no_metadata:
        return None
    own = 'quality' if WRITTEN[job.format].lossy else 'compression'
    of_file = {name: value for name, value in unusual(command).items() if name == own}
    return results.line(__version__, command.weights, job.source.name, content, **given, **of_file)


def restore_all(
    jobs: 'Sequence[Job]',
    made_by: 'Making',
    command: Command,
    computing: Computing,
    settings: Settings,
    told: Telling,
    *,
    alone: bool,
) -> None:
    """Every picture, each told; one that cannot be restored is named, and the others go on. alone: no other was named.

    That decides how a mistake ends, not how many are left: so every start ends alike.
    """
    from addsr_jax.restoration import folder, stream

    model, how, tiles = ready(jobs, made_by, command, computing, settings, told)
    clock = stream.Clock(tell=told.more_tiles)
    told.begin(len(jobs), tiles)
    try:
        for event in folder.restore_all(model, jobs, how, clock=clock, tell=told.note):
            if isinstance(event, folder.Done):
                told.picture(event)
            elif alone:
                told.only_picture(event)
                raise event.error
            else:
                told.no_picture(event)
    except KeyboardInterrupt:
        told.close()
        told.note(f'{told.done} of {len(jobs)} are done: {the_rest(command)}')
        raise
    told.end(clock.idle / clock.seconds)
    if told.left_out:
        raise Incomplete(f'{len(told.left_out)} of {len(jobs)} pictures were left out, for the reasons above')


def the_rest(command: Command) -> str:
    """How to go on after an end in between. --overwrite would begin anew, and without metadata no result is known."""
    if command.overwrite:
        return 'with --resume in place of --overwrite the same command does the rest'
    return f'{"with --resume " if command.no_metadata and not command.resume else ""}the same command does the rest'


def ready(
    jobs: 'Sequence[Job]', made_by: 'Making', command: Command, computing: Computing, settings: Settings, told: Telling
) -> 'tuple[Any, How, int]':
    """The model, compiled; what all pictures have in common; and how many tiles they have together."""
    from addsr_jax import sharding
    from addsr_jax.restoration import folder, pipeline, room
    from addsr_jax.runtime import prepare
    from addsr_jax.weights import hub

    prepare()
    devices = room.devices(jobs, settings)
    told.note(f'loading {command.weights}' + (f' onto {len(devices)} devices' if len(devices) > 1 else ''))
    mesh = sharding.make_mesh('data:-1', devices)
    weights = hub.located(command.weights, told.note)
    asked = (mesh, computing.dtype, computing.attention, computing.runtime, told.note)
    model = pipeline.load(weights, *asked, method=settings.method)
    model = with_words(model, command, told)
    if settings.fidelity is not None and command.weights != fidelity.MEASURED_ON:
        told.note(fidelity.elsewhere(command.weights))
    told.note('compiling, or looking up what is compiled')
    ThreadPoolExecutor(1).submit(model.words, settings)  # a user's words want a library that takes a second: meanwhile
    limit = None if command.memory is None else 1e9 * command.memory
    chosen = room.choose(model, jobs, room.no_more_than_there_are(model, jobs, settings), limit)
    settings = chosen.settings
    tile = f'of {settings.tile} pixels or less' if settings.tile else 'of whole pictures'
    pictures, tiles = (f'{n} {word}{"s" * (n != 1)}' for n, word in ((len(jobs), 'picture'), (chosen.tiles, 'tile')))
    if chosen.tiles:  # none of files that cannot be read
        told.note(
            f'{pictures}, {tiles} {tile}, {model.whole_calls(settings.batch)} at a time, '
            f'{memory_of(chosen.bytes)} of memory for them'
        )
    how = folder.How(
        settings,
        made_by,
        command.quality,
        command.compression,
        command.max_pixels,
        chosen.pixels,
    )
    return model, how, chosen.tiles


def with_words(model: Any, command: Command, told: Telling) -> Any:
    """The model with the list of tags that the command names, or its own; which it is, is told."""
    from addsr_jax.weights import tags

    spec = model.networks.spec
    if command.tag_list is not None and command.thresholds is not None:
        classes = spec.prompt_extractor.tagging.classes
        model = replace(model, vocabulary=tags.read_vocabulary(command.tag_list, command.thresholds, classes))
    if command.no_tags:
        return model
    if model.vocabulary is not None:
        told.note("each picture's tags are part of its prompt: --no_tags leaves them out")
    elif tags.shipped_fit(spec):
        told.note(f'{command.weights} has no list of tags, and no picture is tagged: convert the weights again')
    return model


if __name__ == '__main__':
    sys.exit(guard(main))
