"""What going on from the embedded student with pairs of one's own brings: the example of docs/finetune.md.

    python -m benchmarks.finetune --photos PHOTOS --left_out OTHERS --workdir DIR    # pip install '.[metrics]'

The first 100 photographs of PHOTOS get low-quality pictures that a poor scanner might have made; the student goes on
with the pairs, and is compared with what it was on pairs of the middles of OTHERS, which are made the same way. A call
that was stopped goes on.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from addsr_jax.data import pictures
from addsr_jax.data.photographs import photographs
from addsr_jax.train import run_apart
from benchmarks.blocks import replace_block

ROOT = Path(__file__).parents[1]
SIDE, SCALE = 256, 4  # pixels of a held-out crop's side
BLUR, NOISE, QUALITY = 1.0, 4.0, 60  # of the scanner: pixels, levels of 255, JPEG
# what docs/finetune.md says to set, beside the folders
SETTINGS = (
    'objective.start=student',
    'objective.lpips_weight=1',
    'objective.pixel_weight=1',
    'objective.distillation_weight=0',
    'objective.adversarial_weight=0',
    'objective.one_step_probability=0.7',
    'objective.branch=per_batch',
    'data.hr_size=96',
    'optimizer.learning_rate=3e-4',
    'optimizer.final_learning_rate=2e-5',
    'optimizer.beta1=0.9',
    'eval_every=0',
    'preview_every=0',
    'log_every=10',
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--photos', type=Path, required=True)
    parser.add_argument('--left_out', type=Path, required=True)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=300)
    values = parser.parse_args()
    mine, others = values.workdir / 'mine', values.workdir / 'others'
    scan(values.photos, mine, 100, None)
    scan(values.left_out, others, 12, SIDE)
    run = values.workdir / f'run{values.steps}'
    folders = (f'data.path={mine / "HR"}', f'data.lq_path={mine / "LQ"}')
    run_apart('configs/addsr.py:nano', run, ('data.source=pairs', *folders, f'steps={values.steps}', *SETTINGS))
    tables = []
    for name, weights in (('the embedded model', 'nano'), ('gone on with', str(run / 'final'))):
        tables.append(f'{name}:\n\n{scored(others, weights)}')
    replace_block(ROOT / 'docs' / 'finetune.md', 'finetune', '\n\n'.join(tables))


def scan(photos: Path, target: Path, count: int, side: int | None) -> None:
    """Pairs in `target`/HR and `target`/LQ; of the middle of a photograph, where there is a `side`."""
    for number, path in enumerate(photographs(photos, recursive=True).paths[:count]):
        high = pictures.read(path)
        height, width = (min(n, side or n) // SCALE * SCALE for n in high.shape[:2])
        top, left = (high.shape[0] - height) // 2, (high.shape[1] - width) // 2
        high = np.ascontiguousarray(high[top : top + height, left : left + width])
        low = cv2.resize(high, (width // SCALE, height // SCALE), interpolation=cv2.INTER_AREA).astype(np.float32)
        noise = np.random.default_rng(number).normal(0, NOISE, low.shape)
        low = np.clip(np.rint(cv2.GaussianBlur(low, (0, 0), BLUR) + noise), 0, 255).astype(np.uint8)
        for folder, image, ending in (('HR', high, 'png'), ('LQ', low, 'jpg')):
            (target / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(target / folder / f'{path.stem}.{ending}', quality=QUALITY)


def scored(folder: Path, weights: str) -> str:
    """The table of `addsr evaluate`, as it prints it."""
    command = ['-m', 'addsr_jax.evaluate', '--lq', f'{folder}/LQ', '--hr', f'{folder}/HR', '--weights', weights]
    command += ['--methods', 'bicubic,addsr-1,addsr-4']
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True)
    sys.stdout.write(done.stdout)
    return f'```\n{done.stdout[done.stdout.rindex("method  ") :].strip()}\n```'


if __name__ == '__main__':
    main()
