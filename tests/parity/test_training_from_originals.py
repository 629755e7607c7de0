"""All stages at the published size, by their commands: each starts from converted weights or from the last result."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from addsr_jax import trees
from addsr_jax.weights import bundle as bundles
from tests.golden import originals

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parents[2]
ONE_DEVICE = '--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true'
SHORT = ('data.source=sample_photos', 'data.hr_size=128', 'batch_size=2', 'steps=1', 'log_every=1')
QUIET = ('eval_every=0', 'preview_every=0')
TRAINED = (('dape', ''), ('teacher', 'controlnet/'), ('student', 'unet/.*image_attentions'))


def run(*words: str) -> str:
    environment = {**os.environ, 'XLA_FLAGS': ONE_DEVICE, 'JAX_PLATFORMS': 'cpu'}
    command = [sys.executable, '-m', *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_stage_trains_from_converted_weights_and_the_next_takes_its_result(tmp_path):
    sources = originals.write(tmp_path / 'files')
    arguments = [word for name, path in sources.items() for word in (f'--{name}', str(path))]
    weights = tmp_path / 'converted'
    run('addsr_jax.convert', 'from_pytorch', *arguments, '-o', str(weights))
    for stage in ('dape', 'seesr', 'addsr'):
        changes = [f'--config.{change}' for change in (*SHORT, *QUIET, f'weights={weights}')]
        told = run('addsr_jax.train', '--config', f'configs/{stage}.py', '--workdir', str(tmp_path / stage), *changes)
        assert re.search(r'^step 1/1 .* loss [0-9.]+', told, re.MULTILINE)
        weights = tmp_path / stage / 'final'
    before, after = (bundles.load(folder).params for folder in (tmp_path / 'converted', weights))
    assert set(after) == set(before)
    for part, trained in TRAINED:
        old, new = (trees.flatten(found[part]) for found in (before, after))
        assert any((old[path] != new[path]).any() for path in old if re.match(trained, path))
    old, new = (trees.flatten(found['prompt_extractor']) for found in (before, after))
    assert all((old[path] == new[path]).all() for path in old)  # RAM itself is not touched
    run('addsr_jax.convert', 'to_pytorch', str(weights), '-o', str(tmp_path / 'back'))
    assert (tmp_path / 'back' / 'unet' / 'config.json').exists()
