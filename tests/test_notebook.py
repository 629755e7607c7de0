"""examples/upscale.ipynb from top to bottom, and without outputs of somebody's machine.

Its cells are plain Python, so they run here as they would in a kernel, one after the other in one namespace: nbclient
would bring a kernel, its sockets and a dozen packages, and would compile again in a process of its own.
"""

import json
from pathlib import Path
from typing import Any

from addsr_jax.restoration import settings

NOTEBOOK = Path(__file__).parents[1] / 'examples' / 'upscale.ipynb'


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
    return [cell for cell in cells if cell['cell_type'] == 'code']


def test_the_notebook_runs_from_top_to_bottom():
    space: dict[str, Any] = {'__name__': '__main__'}
    for number, cell in enumerate(code_cells()):
        exec(compile(''.join(cell['source']), f'{NOTEBOOK.name}, cell {number}', 'exec'), space)
    scale = settings.SCALE
    assert space['large'].size == tuple(scale * side for side in space['cat'].size)
    assert space['deep'].dtype == space['grey'].dtype
    assert len(space['results']) == 2
    assert [number for number, _ in space['wrong']] == [1]
    assert space['told'] == [(1, 1), 'stopped after 1 tiles']


def test_no_output_is_kept_in_the_notebook():
    assert not [cell for cell in code_cells() if cell['outputs'] or cell['execution_count']]
