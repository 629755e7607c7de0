"""The parts of docs/upscale.md that are made: the table of options, and the sheet of recipes.

python -m benchmarks.upscale_docs [--only options|recipes]
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from addsr_jax import upscale
from addsr_jax.data import pictures, sources
from addsr_jax.evaluation import report
from addsr_jax.evaluation.ablation import markdown
from addsr_jax.flags import help_line
from addsr_jax.options import declared, describe
from addsr_jax.restoration import pipeline
from addsr_jax.restoration.computing import Computing
from addsr_jax.restoration.settings import Settings
from addsr_jax.runtime import prepare
from benchmarks.blocks import replace_block

DOCUMENT = Path(__file__).parents[1] / 'docs' / 'upscale.md'
SIDE = 128  # pixels of a picture of the sheet
# What a recipe says on the command line, and to Python.
RECIPES = {
    'as it is': {},
    '--steps 4': {'steps': 4},
    '--fidelity 1': {'fidelity': 1.0},
    '--antithetic': {'antithetic': True},
    '--grain 8': {'grain': 8.0},
}


def options() -> str:
    """Markdown: every flag of `upscale`, by its group, from the fields that declare them."""
    rows: dict[str, list[list[str]]] = {}
    for kind, without in ((upscale.Command, ()), (Computing, ()), (Settings, ('tags',))):
        for field in dataclasses.fields(kind):
            said, annotation = describe(kind, field.name), declared(kind)[field.name]
            default = None if field.default is dataclasses.MISSING else field.default
            if field.name not in without:
                line = help_line(annotation, said, default).replace('%%', '%').replace('|', '\\|')
                rows.setdefault(said.group or 'most wanted', []).append([f'`--{field.name}`', line])
    parts = []
    for group, lines in rows.items():
        parts.append(f'{group[0].upper()}{group[1:]}:\n\n{markdown([["option", "what it is"], *lines])}')
    return '\n\n'.join(parts)


def recipes() -> str:
    """docs/recipes.jpg: four kinds of picture by five ways; the line that shows it."""
    prepare()
    model, rows = pipeline.load('nano'), []
    for name, small in samples().items():
        size = (4 * small.shape[1], 4 * small.shape[0])
        row = {'bicubic': np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))}
        row |= {recipe: model.upscale(small, name=name, **settings) for recipe, settings in RECIPES.items()}
        rows.append({recipe: image[128:384, 128:384] for recipe, image in row.items()})
    sheet = report.side_by_side(rows)
    Image.fromarray(sheet).save(DOCUMENT.with_name('recipes.jpg'), quality=88)
    return '![A photograph, an old photograph, a page and a drawing by five ways](recipes.jpg)'


def samples() -> dict[str, np.ndarray]:
    """uint8 [SIDE, SIDE, 3]: scikit-image's photographs, damaged or not, and a drawing made here."""
    root = sources.held_out().paths[0].parent
    rng = np.random.default_rng(0)
    cat, coffee = (
        pictures.read(root / name)[80 : 80 + 2 * SIDE, 100 : 100 + 2 * SIDE] for name in ('chelsea.png', 'coffee.png')
    )
    small = {
        name: np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.Resampling.BOX))
        for name, x in (('cat', cat), ('cup', coffee))
    }
    grey = small['cup'].mean(axis=2, keepdims=True) * 0.8 + 30 + rng.normal(0, 9, (SIDE, SIDE, 1))
    page = pictures.read(root / 'page.png')[:SIDE, :SIDE]
    return {
        'photograph': small['cat'],
        'old photograph': np.clip(grey, 0, 255).astype(np.uint8).repeat(3, axis=2),
        'page': np.ascontiguousarray(page),
        'drawing': drawing(),
    }


def drawing() -> np.ndarray:
    """Lines, areas of one colour and letters, with clean edges."""
    image = Image.new('RGB', (4 * SIDE, 4 * SIDE), (250, 246, 235))
    draw = ImageDraw.Draw(image)
    draw.ellipse((150, 150, 360, 360), fill=(214, 60, 50), outline='black', width=8)
    draw.line((0, 420, 512, 300), fill=(30, 60, 140), width=12)
    draw.polygon([(260, 140), (400, 330), (300, 380)], fill=(60, 150, 90), outline='black')
    draw.text((170, 230), 'Aa', fill='white', font=ImageFont.load_default(size=90))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--only', choices=('options', 'recipes'))
    only, make = parser.parse_args().only, {'options': options, 'recipes': recipes}
    for name in (only,) if only else make:
        replace_block(DOCUMENT, name, make[name]())


if __name__ == '__main__':
    main()
