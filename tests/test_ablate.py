"""`addsr ablate` as people type it, on a tiny model: what it asks of training, what it scores, what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from addsr_jax import ablate
from addsr_jax.errors import guard
from addsr_jax.restoration import comparison, program
from addsr_jax.weights import bundle as bundles
from tests import tiny
from tests.data import photos
from tests.diffusion import parts

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({
        'config': 'configs/addsr.py:nano', 'photos': '', 'steps': 3, 'pairs': 2, 'seeds': ('whole', 'again'),
        'runs': {'whole': (), 'again': ('seed=1',), 'no_psr': ('objective.psr_train=0.0',)},
        'methods': ('addsr-1', 'addsr-2'), 'metrics': ('psnr', 'niqe'),
        'without_psr': ('no_psr',), 'curve': ('addsr-2@1',), 'teacher': 'seesr-2',
    })
"""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A folder with a config and two pairs; training is replaced by a tiny model of the asked run."""
    monkeypatch.chdir(tmp_path)
    Path('ablation.py').write_text(CONFIG)
    for i, high in enumerate(photos.crops(2, 128)):
        for folder, side in (('lq', 32), ('hr', 128)):
            Path(folder).mkdir(exist_ok=True)
            Image.fromarray(high).resize((side, side), Image.Resampling.BICUBIC).save(f'{folder}/{i}.png')
    calls = []

    def train(config, workdir, overrides):
        calls.append((config, workdir.name, overrides))
        bundles.save(tiny.bundle(tiny.LEAST), workdir / 'final', 'safetensors')

    monkeypatch.setattr(ablate, 'run_apart', train)
    monkeypatch.setattr(program, 'jitted', parts.jitted)  # all runs share them
    return calls


ARGUMENTS = ['--config', 'ablation.py', '--workdir', 'run', '--lq', 'lq', '--hr', 'hr']


def test_ablate_trains_scores_and_tabulates_and_scores_nothing_twice(asked, capsys, monkeypatch):
    assert guard(ablate.main, ARGUMENTS) == 0
    last = {name: overrides[-1] for _, name, overrides in asked}
    assert last == {'whole': 'data.path=', 'again': 'seed=1', 'no_psr': 'objective.psr_train=0.0'}
    assert all('steps=3' in overrides for _, _, overrides in asked)
    result = json.loads(Path('run/ablation.json').read_text())
    assert set(result['runs']) == {'whole', 'again', 'no_psr'}
    assert set(result['curve']) == {'addsr-1', 'addsr-2', 'addsr-2@1'}
    assert set(result['others']) == {'bicubic', 'seesr-2'}
    # The same weights: seeds are equal, and without PSR one step is the same and two steps are not.
    runs = result['runs']
    assert runs['whole']['addsr-2']['psnr'] == runs['again']['addsr-2']['psnr']
    assert runs['whole']['addsr-1']['psnr'] == runs['no_psr']['addsr-1']['psnr']
    assert set(runs['whole']['addsr-2']) == {'psnr', 'niqe', 'seconds'}
    assert runs['whole']['addsr-2']['psnr'] != runs['no_psr']['addsr-2']['psnr']
    assert Path('run/ablation.md').read_text() in capsys.readouterr().out
    assert np.asarray(Image.open('run/curve.png')).ndim == 3
    before = Path('run/ablation.json').read_text()
    monkeypatch.setattr(comparison, 'compare', lambda *_: pytest.fail('scored again'))
    assert guard(ablate.main, ARGUMENTS) == 0
    assert asked[3:] == asked[:3]  # the same command again: a run that is done says so
    assert Path('run/ablation.json').read_text() == before


def test_scores_of_other_pictures_weights_or_settings_are_not_taken_for_these(asked, monkeypatch):
    assert guard(ablate.main, ARGUMENTS) == 0
    before = json.loads(Path('run/ablation.json').read_text())
    Image.open('lq/0.png').rotate(180).save('lq/0.png')
    Image.open('hr/0.png').rotate(180).save('hr/0.png')
    assert guard(ablate.main, ARGUMENTS) == 0
    turned = json.loads(Path('run/ablation.json').read_text())
    assert turned['others']['bicubic'] != before['others']['bicubic']
    Path('ablation.py').write_text(CONFIG.replace("'without_psr': ('no_psr',)", "'without_psr': ()"))
    assert guard(ablate.main, ARGUMENTS) == 0
    with_psr = json.loads(Path('run/ablation.json').read_text())['runs']
    assert with_psr['no_psr']['addsr-2']['psnr'] == with_psr['whole']['addsr-2']['psnr']


def test_pictures_too_small_for_a_figure_are_refused_before_anything_is_trained(asked, capsys):
    for path in Path('.').glob('?r/*.png'):
        Image.open(path).resize((80, 80)).save(path)
    for path in Path('.').glob('lq/*.png'):
        Image.open(path).resize((20, 20)).save(path)
    assert guard(ablate.main, ARGUMENTS) == 2
    assert 'niqe needs pictures of at least 96 pixels a side, and the largest of --hr has 80' in capsys.readouterr().err
    assert not asked


BAD = [
    (
        ["'seeds': ('whole', 'again')", "'seeds': ('whole',)"],
        "config.seeds is ('whole',): it must be a list of at least 2 texts",
    ),
    (["'seeds': ('whole', 'again')", "'seeds': ('whole', 'whole')"], 'seeds names one run twice'),
    (["'seeds': ('whole', 'again')", "'seeds': ('whole', 'other')"], 'name other'),
    (["'psnr', 'niqe'", "'ssim', 'niqe'"], 'metrics lacks psnr'),
    (["'psnr', 'niqe'", "'psnr', 'ssim'"], 'both of lpips and niqe'),
    (["'addsr-2@1'", "'seesr-2@1'"], 'is no method'),
    (["'addsr-2@1'", "'addsr-2@7'"], 'psr_weight is 7.0'),
    (["'addsr-2@1'", "'bicubic'"], 'leave it out'),
    (["'steps': 3", "'steps': 0"], 'config.steps is 0: it must be a whole number'),
    (["'steps': 3", "'stepz': 3"], 'no option config.stepz: did you mean steps'),
    (["('seed=1',)", "'seed=1'"], 'config.runs is'),
    (["'seed=1'", "'seed'"], 'write KEY=VALUE'),
    (["'whole': (), ", "'whole': (), 'curve': (), "], 'choose another'),
    (["'pairs': 2, ", ''], 'config.pairs is missing'),
    (["'niqe'", "'fid'"], "there is no figure 'fid'"),
]


@pytest.mark.parametrize(('change', 'message'), BAD, ids=[m for _, m in BAD])
def test_ablate_refuses(asked, change, message, capsys):
    Path('ablation.py').write_text(CONFIG.replace(*change))
    assert guard(ablate.main, ARGUMENTS) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not asked
    assert not Path('run').exists()


def test_the_shipped_ablation_is_one_that_the_command_takes():
    from addsr_jax.training import config

    root = Path(__file__).parents[1]
    plan = ablate.read_plan(config.read(f'{root}/configs/ablation.py', ()).to_dict())
    for overrides in plan.runs.values():
        pairs = [(key, value) for key, _, value in (text.partition('=') for text in overrides)]
        config.read(f'{root}/{plan.config}', pairs)
