"""docs/nnx.md, run: the page's code, from top to bottom, on a model a tenth of nano's width."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from addsr_jax.weights import bundle as bundles
from tests import tiny

PAGE = Path(__file__).parents[2] / 'docs' / 'nnx.md'


def test_the_page_from_flax_nnx_does_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundles.save(tiny.bundle(tiny.LEAST), Path('model'), 'safetensors')
    space: dict[str, Any] = {}
    for number, code in enumerate(re.findall(r'```python\n(.*?)```', PAGE.read_text(encoding='utf-8'), re.DOTALL)):
        exec(compile(code.replace("'nano'", "'model'"), f'nnx.md, block {number}', 'exec'), space)
    linen = space['networks'].text_encoder.apply({'params': space['made'].params['text_encoder']}, space['tokens'])
    np.testing.assert_allclose(space['answer'], linen, atol=1e-6)
    before, after = space['made'].params['text_encoder'], space['trained']
    assert jax.tree.structure(before) == jax.tree.structure(after)
    moved = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), before, after)
    assert max(jax.tree.leaves(moved)) > 0
    again = bundles.load('mine')
    np.testing.assert_array_equal(
        *(
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
            for tree in (again.params['text_encoder'], after)
        )
    )
    assert space['wider'].shape == space['answer'].shape
