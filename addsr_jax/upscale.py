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

from addsr_jax.errors import UserError, complain, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import FINISH, LARGE, SAMPLING, WORDS, Settings
from addsr_jax.specs import KERNELS

MACHINE = 'machine'


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `upscale` takes beside the settings of a picture."""

    output: Path = option('folder for the results, or a .png for one image', short='o', bucket=True)
    weights: str = option("'nano', or a folder that training or convert wrote", default='nano')
    overwrite: bool = option('replace existing results', default=False)
    resume: bool = option('leave existing results as they are, and do the rest', default=False)
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
        if self.resume and self.overwrite:
            raise UserError('--resume leaves results and --overwrite replaces them: give one')
        if (self.processes is None) != (self.process is None) or (self.distributed and self.processes is not None):
            raise UserError('give --processes N with --process I, or --distributed alone')
        if self.processes is not None and self.process is not None and self.process >= self.processes:
            raise UserError(f'--process is {self.process} of {self.processes}: it counts from 0')
        if (self.tag_list is None) != (self.thresholds is None):
            raise UserError('--tag_list and --thresholds belong together: give both, or none')


def parser() -> Parser:
    p = Parser('upscale', 'Upscales image files, and all images of folders, to OUTPUT/STEM_x4.png.')
    p.add_argument('inputs', nargs='+', metavar='INPUT', help='image files or folders')
    p.order(SAMPLING, FINISH, WORDS, LARGE, MACHINE)
    p.declare(Command)
    p.declare(Settings, without=('tags',))
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    command, settings = take(values, Command), take(values, Settings)
    from addsr_jax import processes
    from addsr_jax.restoration import files, pipeline, tags
    from addsr_jax.runtime import prepare

    jobs = files.plan_jobs(values.inputs, command.output, settings.scale)
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
        restore_all(model, todo, settings, vocabulary)


def restore_all(model: Any, jobs: Sequence[Any], settings: Settings, vocabulary: Any) -> None:
    """Every picture, each told; one that cannot be restored is named, and the others go on."""
    from addsr_jax.data import pictures
    from addsr_jax.restoration import files

    failed = []
    for i, job in enumerate(jobs, 1):
        start = time.monotonic()
        try:
            image = pictures.read(job.source)
            if vocabulary is not None:
                settings = dataclasses.replace(settings, tags=vocabulary.text(model.tag_probabilities(image)))
            result = model.restore(image, settings, job.source.name)
            files.write_image(job.target, result)
        except UserError as error:
            if len(jobs) == 1:
                raise
            failed.append(job.source)
            complain(f'[{i}/{len(jobs)}] left out: {error}')
            continue
        height, width = result.shape[:2]
        remark = '  first frame of an animation' if pictures.is_animation(job.source) else ''
        say(f'[{i}/{len(jobs)}] {job.target}  {width} x {height}  {time.monotonic() - start:.1f} s{remark}')
    if failed:
        raise UserError(
            f'{len(failed)} of {len(jobs)} pictures were left out, for the reasons above: {failed[0]} first'
        )


if __name__ == '__main__':
    sys.exit(guard(main))
