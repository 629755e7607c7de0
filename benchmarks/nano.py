"""Pictures and figures of docs/nano.md, and the ablation of docs/experiments.md, made again.

    python -m benchmarks.nano --lq LQ --hr HR --workdir runs/nano [--limit N] [--ablation runs/ablation] [--only BLOCK]

LQ and HR are folders of pairs that nobody trained on (the document's are the DRealSR test crops). With the workdir of
`addsr ablate --config configs/ablation.py`, the ablation's tables and plot become part of the document. Scores are kept
in --workdir: the same command goes on where it stopped.
"""

import argparse
import json
import shutil
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from addsr_jax import atomic
from addsr_jax.data import pictures, sources
from addsr_jax.data.batches import degrade_image
from addsr_jax.evaluation import report
from addsr_jax.evaluation.ablation import curve_table
from addsr_jax.evaluation.plot import perception_distortion
from addsr_jax.flags import say
from addsr_jax.networks.build import apply
from addsr_jax.restoration import comparison, files, pipeline
from addsr_jax.restoration.settings import PSR_WEIGHT, Settings
from addsr_jax.runtime import prepare
from benchmarks.blocks import replace_block

ROOT = Path(__file__).parents[1]
FRONTIER = (
    *('addsr-1', 'addsr-1x2', 'addsr-2', 'addsr-2@0', 'addsr-2@1', 'addsr-2x2@0', 'addsr-4@0', 'addsr-4', 'addsr-4@1'),
    *('addsr-4x2@0', 'addsr-4x2', 'addsr-8@1'),
)
METRICS = ('psnr', 'ssim', 'niqe', 'lpips', 'dists')  # of the frontier; the last two need the extra [metrics]
BLOCKS = ('contact_sheet', 'frontier', 'autoencoder')  # of docs/nano.md
SIDE = 176  # pixels of a crop of the contact sheet
# Photograph and (top, left) of the crops: scikit-image ships them, and the embedded weights were not trained on them.
CROPS = (
    ('astronaut.png', 10, 140),
    ('astronaut.png', 300, 20),
    ('coffee.png', 100, 180),
    ('coffee.png', 200, 380),
    ('rocket.jpg', 120, 250),
    ('motorcycle_left.png', 150, 200),
    ('motorcycle_right.png', 220, 420),
    ('chelsea.png', 60, 110),
    ('chelsea.png', 100, 250),
    ('brick.png', 100, 100),
    ('grass.png', 200, 200),
    ('page.png', 0, 40),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--lq', type=Path, required=True)
    parser.add_argument('--hr', type=Path, required=True)
    parser.add_argument('--ablation', type=Path)
    parser.add_argument('--workdir', type=Path, required=True)
    parser.add_argument('--limit', type=int)
    parser.add_argument('--only', nargs='+', choices=(*BLOCKS, 'ablation'))
    values = parser.parse_args()
    only = values.only or (*BLOCKS, *(['ablation'] if values.ablation else []))
    if 'ablation' in only and not values.ablation:
        parser.error('the block ablation needs --ablation, the workdir of `addsr ablate`')
    prepare()
    values.workdir.mkdir(parents=True, exist_ok=True)
    pairs = comparison.find_pairs(values.lq, values.hr, values.limit)
    load = cache(partial(pipeline.load, 'nano'))
    write = {
        'contact_sheet': lambda: contact_sheet(load),
        'frontier': lambda: frontier(pairs, values.workdir, load),
        'autoencoder': lambda: autoencoder_line(pairs, values.workdir, load),
        'ablation': lambda: ablation_tables(values.ablation),
    }
    for name in only:
        text = write[name]()
        replace_block(ROOT / 'docs' / ('experiments.md' if name == 'ablation' else 'nano.md'), name, text)


def frontier(pairs, workdir: Path, load) -> str:
    """Markdown of steps and PSR weights, and docs/frontier.png; what the fidelity dial is made from."""

    def make(names):
        return comparison.make_methods(names, Settings(), load)

    scores = comparison.scored(workdir / f'frontier_{len(pairs)}.json', pairs, FRONTIER, make, say, METRICS)
    curve = report.means(scores)
    perception_distortion(ROOT / 'docs' / 'frontier.png', curve, {}, PSR_WEIGHT, 'lpips')
    table = curve_table(curve, METRICS)
    return f'{len(pairs)} pairs.\n\n{table}\n\n![PSNR against LPIPS over steps and PSR weights](frontier.png)'


def ablation_tables(workdir: Path) -> str:
    """Markdown that `addsr ablate` wrote, and its plot as docs/perception_distortion.png."""
    shutil.copyfile(workdir / 'curve.png', ROOT / 'docs' / 'perception_distortion.png')
    tables = (workdir / 'ablation.md').read_text(encoding='utf-8').strip()
    return f'{tables}\n\n![PSNR against LPIPS over steps and PSR weights](perception_distortion.png)'


def autoencoder_line(pairs, workdir: Path, load) -> str:
    """RGB PSNR of the photographs' reconstructions, whole pictures, rounded to bytes."""
    record = workdir / f'autoencoder_{len(pairs)}.json'  # `pairs` follows from their number
    if not record.exists():
        model, found = load(), []
        module, params = model.networks.autoencoder, model.params['autoencoder']
        again = jax.jit(lambda p, x: jnp.clip(apply(module, p, x), -1, 1))
        for pair in pairs:
            image = pictures.read(pair.high)
            result = np.asarray(again(params, image[None].astype(np.float32) / np.float32(127.5) - 1))[0]
            error = np.rint((result + 1) * 127.5) - image
            found.append(10 * np.log10(255**2 / np.mean(error**2)))
        atomic.write_json(record, [float(np.mean(found)), float(np.min(found))])
    mean, least = json.loads(record.read_text(encoding='utf-8'))
    return f'{mean:.1f} dB RGB PSNR on the mean of {len(pairs)} HR photographs, {least:.1f} dB on the worst.'


def contact_sheet(load) -> str:
    """docs/contact_sheet.jpg, and its row of the cat for the README; the line that shows it."""
    names = ('bicubic', 'seesr-50', 'addsr-4', 'addsr-4x2', 'addsr-1')
    methods = comparison.make_methods(names, Settings(), load)
    root, rows = sources.held_out().paths[0].parent, []
    for i, (photo, top, left) in enumerate(CROPS):
        image = pictures.read(root / photo)
        high = np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])
        low = degrade_image(high, i, 'mild')
        shown = {'LQ (nearest)': np.asarray(Image.fromarray(low).resize((SIDE, SIDE), Image.Resampling.NEAREST))}
        rows.append({**shown, **{n: restore(low, photo) for n, restore in methods.items()}, 'HR': high})
        say(f'contact sheet [{i + 1}/{len(CROPS)}] {photo}')
    Image.fromarray(report.side_by_side(rows)).save(ROOT / 'docs' / 'contact_sheet.jpg', quality=88)
    files.write_image(ROOT / 'docs' / 'side_by_side.png', report.side_by_side([rows[7]]))
    return '![Twelve crops by every method](contact_sheet.jpg)'


if __name__ == '__main__':
    main()
