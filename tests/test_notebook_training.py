"""examples/train.ipynb from top to bottom, at a size that is quick, and without outputs of somebody's machine."""

import dataclasses
import json
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from addsr_jax import sharding, sizes
from addsr_jax.weights import bundle as bundles
from tests import tiny

NOTEBOOK = Path(__file__).parents[1] / 'examples' / 'train.ipynb'
CELLS = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
CODE = [cell for cell in CELLS if cell['cell_type'] == 'code']
SPEC = dataclasses.replace(tiny.LEAST, name='nano')


def test_the_notebook_trains_on_ten_photographs(tmp_path, monkeypatch):
    bundles.save(tiny.bundle(SPEC), tmp_path / 'weights', 'safetensors')
    monkeypatch.chdir(NOTEBOOK.parent)
    space: dict[str, Any] = {'__name__': '__main__'}
    real = sharding.make_mesh

    def make_mesh(axes, devices=None):  # a program for one device compiles in half the time of one for several
        return real(axes, devices or jax.devices()[:1])

    with mock.patch.dict(sizes.MODELS, nano=SPEC), mock.patch.object(sharding, 'make_mesh', make_mesh):
        for number, cell in enumerate(CODE):
            exec(compile(''.join(cell['source']), f'{NOTEBOOK.name}, cell {number}', 'exec'), space)
            if number == 0:  # a smaller run of smaller networks, whose step other tests compile too
                space |= {'WEIGHTS': tmp_path / 'weights', 'STEPS': 2, 'SIDE': 80, 'folder': tmp_path}
    assert space['finished']
    assert len(list(space['photos'].iterdir())) == 10
    assert space['before'].shape == space['after'].shape == space['sharp'].shape
    assert bundles.load(space['final']).info['config']['data.source'] == 'folder'
    before, after = (bundles.load(place).params['student'] for place in (tmp_path / 'weights', space['final']))
    assert any(map(np.any, map(np.not_equal, jax.tree.leaves(before), jax.tree.leaves(after))))


def test_no_output_is_kept_in_the_notebook():
    assert not [cell for cell in CODE if cell['outputs'] or cell['execution_count']]
