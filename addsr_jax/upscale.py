"""addsr upscale: photographs, four times larger and sharp.

python -m addsr_jax.upscale PHOTO... -o OUTPUT
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, say, take
from addsr_jax.options import Options, option
from addsr_jax.restoration.settings import FINISH, LARGE, SAMPLING, WORDS, Settings
from addsr_jax.specs import KERNELS

MACHINE = 'machine'


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `upscale` takes beside the settings of a picture."""

    output: Path = option('folder for the results, or a .png for one image', short='o')
    weights: str = option("'nano', or a folder that training or convert wrote", default='nano')
    overwrite: bool = option('replace existing results', default=False)
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

    def check_together(self) -> None:
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
    from addsr_jax.data import pictures
    from addsr_jax.restoration import files, pipeline, tags
    from addsr_jax.runtime import prepare

    jobs = files.plan_jobs(values.inputs, command.output, settings.scale, command.overwrite)
    prepare()
    model = pipeline.load(command.weights, dtype=command.dtype, attention=command.attention)
    vocabulary = None
    if command.tag_list is not None and command.thresholds is not None:
        classes = model.networks.spec.prompt_extractor.tagging.classes
        vocabulary = tags.read_vocabulary(command.tag_list, command.thresholds, classes)
    for i, job in enumerate(jobs, 1):
        start = time.monotonic()
        image = pictures.read(job.source)
        if vocabulary is not None:
            settings = dataclasses.replace(settings, tags=vocabulary.text(model.tag_probabilities(image)))
        result = model.restore(image, settings, job.source.name)
        files.write_image(job.target, result)
        height, width = result.shape[:2]
        remark = '  first frame of an animation' if pictures.is_animation(job.source) else ''
        say(f'[{i}/{len(jobs)}] {job.target}  {width} x {height}  {time.monotonic() - start:.1f} s{remark}')


if __name__ == '__main__':
    sys.exit(guard(main))
