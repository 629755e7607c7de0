"""addsr upscale: photographs, four times larger and sharp.

python -m addsr_jax.upscale PHOTO... -o OUTPUT
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from addsr_jax import __version__
from addsr_jax.data import formats
from addsr_jax.errors import UserError, complain, guard, printable
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import FINISH, LARGE, RESULT, SAMPLING, WORDS, Settings
from addsr_jax.specs import KERNELS

MACHINE = 'machine'


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
        group=RESULT,
    )
    quality: int = option(
        'of JPEG, WebP, AVIF and HEIC; 100: WebP without loss', default=95, low=1, high=100, group=RESULT
    )
    weights: str = option("'nano', or a folder that training or convert wrote", default='nano')
    overwrite: bool = option('replace existing results', default=False)
    resume: bool = option('leave existing results as they are, and do the rest', default=False)
    no_metadata: bool = option(
        'leave EXIF, XMP, texts, resolution and what made the result out of it; colour profiles stay',
        default=False,
        group=RESULT,
    )
    max_pixels: int = option(
        'an image of more is not read', default=formats.LIMIT, low=1, high=2**40, unit='pixels', group=LARGE
    )
    tag_list: Path | None = option(
        "ram_tag_list.txt: the picture's tags become part of the prompt", default=None, group=WORDS
    )
    thresholds: Path | None = option('ram_tag_list_threshold.txt, with tag_list', default=None, group=WORDS)
    dtype: str | None = option(
        'of weights and compute',
        default=None,
        unset='float32 on CPU, bfloat16 elsewhere',
        choices=('float32', 'bfloat16'),
        group=MACHINE,
    )
    attention: str | None = option(
        'kernel of attention; cudnn: faster on NVIDIA GPUs, bfloat16',
        default=None,
        unset="the weights' own",
        choices=KERNELS,
        group=MACHINE,
    )
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
        if self.resume and self.overwrite:
            raise UserError('--resume leaves results and --overwrite replaces them: give one')
        if (self.processes is None) != (self.process is None) or (self.distributed and self.processes is not None):
            raise UserError('give --processes N with --process I, or --distributed alone')
        if self.processes is not None and self.process is not None and self.process >= self.processes:
            raise UserError(f'--process is {self.process} of {self.processes}: it counts from 0')
        if (self.tag_list is None) != (self.thresholds is None):
            raise UserError('--tag_list and --thresholds belong together: give both, or none')


def parser() -> Parser:
    p = Parser('upscale', 'Upscales image files, and all images of folders: photo.jpg becomes OUTPUT/photo_x4.jpg.')
    p.add_argument('inputs', nargs='+', metavar='INPUT', help='image files or folders')
    p.order(RESULT, SAMPLING, FINISH, WORDS, LARGE, MACHINE)
    p.declare(Command)
    p.declare(Settings, without=('tags',))
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    command, settings = take(values, Command), take(values, Settings)
    from addsr_jax import processes
    from addsr_jax.restoration import files, pipeline, tags
    from addsr_jax.runtime import prepare

    naming = files.Naming(command.output, command.format, command.suffix)
    jobs, left_out = files.plan_jobs(values.inputs, naming, settings)
    if left_out:
        say(left_out)
    if command.distributed:
        processes.join(None, None, None)
    with processes.until_all_are_done('all pictures'):
        share = jobs[command.first :: command.count]
        todo = files.remaining(share, overwrite=command.overwrite, resume=command.resume)
        if len(todo) < len(share):
            say(f'{len(share) - len(todo)} of {len(share)} results are there already')
        if not todo:
            return
        prepare()
        model = pipeline.load(command.weights, dtype=command.dtype, attention=command.attention)
        vocabulary = None
        if command.tag_list is not None and command.thresholds is not None:
            classes = model.networks.spec.prompt_extractor.tagging.classes
            vocabulary = tags.read_vocabulary(command.tag_list, command.thresholds, classes)
        restore_all(model, todo, command, settings, vocabulary)


def restore_all(model: Any, jobs: Sequence[Any], command: Command, settings: Settings, vocabulary: Any) -> None:
    """Every picture, each told; one that cannot be restored is named, and the others go on."""
    failed = []
    for i, job in enumerate(jobs, 1):
        start = time.monotonic()
        try:
            size, remarks = restore(model, job, command, settings, vocabulary)
        except UserError as error:
            if len(jobs) == 1:
                raise
            failed.append(job.source)
            complain(f'[{i}/{len(jobs)}] left out: {error}')
            continue
        seconds, name = time.monotonic() - start, printable(str(job.target), 4096)
        told = ''.join(f'  ({remark})' for remark in remarks)
        say(f'[{i}/{len(jobs)}] {name}  {size[0]} x {size[1]}  {seconds:.1f} s{told}')
    if failed:
        raise UserError(
            f'{len(failed)} of {len(jobs)} pictures were left out, for the reasons above: {failed[0]} first'
        )


def restore(
    model: Any, job: Any, command: Command, settings: Settings, vocabulary: Any
) -> tuple[tuple[int, int], tuple[str, ...]]:
    """One picture from file to file: (width and height of the result, what of its file plays no part in it)."""
    from addsr_jax.data import pictures
    from addsr_jax.restoration import files, results

    picture = pictures.open_picture(job.source, command.max_pixels)
    files.check_size(job, picture.size, settings)
    image = results.visible(picture)
    if vocabulary is not None:
        settings = dataclasses.replace(settings, tags=vocabulary.text(model.tag_probabilities(image)))
    result = model.restore(image, settings, job.source.name)
    made_by = None if command.no_metadata else results.line(__version__, command.weights, job.source.name, settings)
    lost = results.write(job.target, picture, result, format=job.format, quality=command.quality, made_by=made_by)
    remarks = (job.remark,) if job.remark else ()
    return (result.shape[1], result.shape[0]), (*remarks, *picture.remarks, *lost)


if __name__ == '__main__':
    sys.exit(guard(main))
