"""addsr upscale: photographs, four times larger and sharp.

python -m addsr_jax.upscale PHOTO... -o OUTPUT
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from addsr_jax.errors import UserError, guard
from addsr_jax.flags import Parser, number, say


def parser() -> Parser:
    p = Parser('upscale', 'Upscales image files, and all images of folders, to OUTPUT/STEM_x4.png.')
    p.add_argument('inputs', nargs='+', metavar='INPUT', help='image files or folders')
    p.add_argument('-o', '--output', required=True, type=Path, help='folder for the results, or a .png for one image')
    p.add_argument('--weights', default='nano', help="'nano', or a folder that training or convert wrote")
    p.add_argument('--method', default='addsr', choices=('addsr', 'seesr'), help='student, or its many-step teacher')
    p.add_argument(
        '--fidelity',
        type=number(float, 0, 1),
        help='addsr: from 0, more detail, to 1, less invention; in place of steps, psr_weight, color and antithetic',
    )
    p.add_argument('--steps', type=number(int, 1, 1000), help='(default: 4 for addsr, 50 for seesr)')
    p.add_argument('--overwrite', action='store_true', help='replace existing results')
    p.add_argument('--scale', type=number(int, 1, 8), default=4, help='enlargement')
    p.add_argument(
        '--tile', type=number(int, 0, 4096), default=512, help='side of a tile in output pixels; 0: no tiles'
    )
    p.add_argument(
        '--latent_tile',
        type=number(int, 0, 4096),
        default=0,
        help='with --tile 0: side of the windows that denoise the whole picture together, in latents; 0: none',
    )
    p.add_argument('--latent_overlap', type=number(int, 0, 4096), default=4, help='latents that windows share')
    p.add_argument(
        '--encoder_tile',
        type=number(int, 0, 8192),
        default=0,
        help='with --tile 0: side in pixels of tiles that the encoder sees, with norms in common; 0: none',
    )
    p.add_argument('--decoder_tile', type=number(int, 0, 4096), default=0, help='the same of the decoder, in latents')
    p.add_argument('--batch', type=number(int, 1, 256), default=1, help='tiles in one call')
    p.add_argument(
        '--color', choices=('guided', 'wavelet', 'adain', 'none'), help="colour fix (default: the model's own)"
    )
    p.add_argument(
        '--grain',
        type=number(float, 0, 20),
        help="smooths luma that varies by less, in levels of 255; 0: nothing (default: the model's own)",
    )
    p.add_argument('--prompt', default='', help='words about the picture')
    p.add_argument('--tag_list', type=Path, help="ram_tag_list.txt: the picture's tags become part of the prompt")
    p.add_argument('--thresholds', type=Path, help='ram_tag_list_threshold.txt, with --tag_list')
    p.add_argument('--negative_prompt', help="what to stay away from (default: the model's own)")
    p.add_argument(
        '--guidance_scale', type=number(float, 0, 30), help="1: off (default: off for addsr, else the model's)"
    )
    p.add_argument('--psr_weight', type=number(float, 0, 1), help='addsr: share of the last prediction (default: 0.4)')
    p.add_argument(
        '--antithetic',
        action='store_true',
        help='addsr: every step is the mean of two, of opposite noise: calm flat areas, less fine texture',
    )
    p.add_argument(
        '--start_point', default='lr', choices=('lr', 'noise'), help='begin at the noised small picture, or at noise'
    )
    p.add_argument(
        '--start_timestep',
        type=number(int, 1, 999),
        help='seesr: how far the small picture is noised; lower keeps more of it (default: 999)',
    )
    p.add_argument('--seed', type=number(int, 0, 2**31 - 1), default=0, help='of all random numbers')
    p.add_argument('--dtype', choices=('float32', 'bfloat16'), help='(default: float32 on CPU, bfloat16 elsewhere)')
    p.add_argument(
        '--attention',
        choices=('einsum', 'chunked', 'cudnn'),
        help="kernel of attention (default: the weights' own); cudnn: faster on NVIDIA GPUs, bfloat16",
    )
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    from addsr_jax.data import pictures
    from addsr_jax.restoration import files, pipeline, tags
    from addsr_jax.restoration.settings import Settings
    from addsr_jax.runtime import prepare

    if (values.tag_list is None) != (values.thresholds is None):
        raise UserError('--tag_list and --thresholds belong together: give both, or none')
    named = {name: getattr(values, name) for name in Settings.__dataclass_fields__ if name != 'tags'}
    settings = Settings(**named)
    jobs = files.plan_jobs(values.inputs, values.output, values.scale, values.overwrite)
    prepare()
    model = pipeline.load(values.weights, dtype=values.dtype, attention=values.attention)
    vocabulary = None
    if values.tag_list is not None:
        classes = model.networks.spec.prompt_extractor.tagging.classes
        vocabulary = tags.read_vocabulary(values.tag_list, values.thresholds, classes)
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
