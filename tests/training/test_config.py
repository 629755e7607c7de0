"""Configs are plain data: read, overridden by type, checked, recorded, and compared at the next start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from addsr_jax import options, sizes
from addsr_jax.data.sources import SOURCES
from addsr_jax.errors import UserError
from addsr_jax.options import describe
from addsr_jax.training import config
from addsr_jax.training.help import config_help
from addsr_jax.training.options import TRAINING, TrainOptions

ROOT = Path(__file__).parents[2]
RECORDED = json.loads(Path(__file__).with_name('configs.json').read_text())
OWN = """
from configs import base

def get_config(size='sd2'):
    config = base.get_config('addsr', {'sd2': {}}, size)
    with config.unlocked():
        LINE
    return config
"""


def read(name='addsr', size='nano', *overrides):
    return config.train_options(f'{ROOT}/configs/{name}.py:{size}', overrides)


def values(run):
    return config.flat(options.to_data(run))


def own(tmp_path, line: str) -> str:
    """A user's own config file: the defaults of stage addsr, and one line."""
    (tmp_path / 'mine.py').write_text(OWN.replace('LINE', line))
    return str(tmp_path / 'mine.py')


@pytest.mark.parametrize('name', RECORDED)
def test_the_shipped_configs_have_the_recorded_numbers(name):
    assert values(read(*name.split(':'))) == RECORDED[name]


@pytest.mark.parametrize('name', [name for name in RECORDED if name.endswith(':nano')])
def test_batches_of_the_small_size_divide_by_the_devices_that_a_cpu_is_split_into(name):
    run = read(*name.split(':'))
    assert run.batch_size % (8 * run.accumulate) == 0  # `runtime.training_environment`: 1, 2, 4 or 8


def test_every_stage_has_a_config_of_every_size():
    assert set(RECORDED) == {f'{stage}:{size}' for stage in TRAINING for size in sizes.MODELS}


def test_sd2_is_the_size_without_a_suffix():
    assert config.train_options(f'{ROOT}/configs/addsr.py', ()).size == 'sd2'


@pytest.mark.parametrize(('key', 'table'), [('size', sizes.MODELS), ('stage', TRAINING)], ids=['sizes', 'stages'])
def test_choices_are_those_there_are(key, table):
    assert describe(TrainOptions, key).choices == tuple(table)


def test_sources_are_those_there_are():
    assert describe(options.declared(TrainOptions)['data'], 'source').choices == tuple(SOURCES)


def test_overrides_take_the_type_of_their_key():
    pairs = (
        ('steps', '7'),
        ('ema', '0.5'),
        ('mesh', 'data:2'),
        ('objective.d_grad_leak', 'true'),
        ('objective.timesteps', '(999, 499)'),
        ('data.path', ''),
        ('optimizer.clip', '2'),
    )
    run = read('addsr', 'nano', *pairs)
    assert (run.steps, run.ema, run.mesh, run.data.path) == (7, 0.5, 'data:2', '')
    assert run.objective == options.from_data(
        type(run.objective), {**options.to_data(read().objective), 'd_grad_leak': True, 'timesteps': (999, 499)}
    )
    assert isinstance(run.optimizer.clip, float)


@pytest.mark.parametrize(
    ('text', 'value'), [('true', True), ('True', True), ('1', True), ('false', False), ('0', False)]
)
def test_switches_are_written_in_words_or_digits(text, value):
    assert values(read('addsr', 'nano', ('objective.d_grad_leak', text)))['objective.d_grad_leak'] is value


WRONG = [
    (('step', '7'), r'no option --config\.step: did you mean steps'),
    (('data.pth', 'x'), 'did you mean data.path'),
    (('steps', 'many'), r'--config\.steps=many: it must be a whole number in 1'),
    (('steps', '2.5'), 'it must be a whole number'),
    (('steps', '0'), r'config\.steps is 0: it must be a whole number in 1'),
    (('objective.d_grad_leak', 'maybe'), 'it must be true or false'),
    (('objective.timesteps', '999'), 'it must be a list of at least 2 whole numbers in 0..999'),
    (('objective.timesteps', '(999, 5000)'), 'it must be a list of at least 2 whole numbers in 0..999'),
    (('objective.timesteps', '(249, 999)'), r'config\.objective: timesteps must fall'),
    (('objective.mu', 'nan'), r'config\.objective\.mu is nan: it must be a number'),
    (('optimizer.learning_rate', 'inf'), r'config\.optimizer\.learning_rate is inf'),
    (('optimizer.beta1', '1'), r'config\.optimizer\.beta1 is 1'),
    (('ema', '1'), r'config\.ema is 1'),
    (('evaluation.images', '-2'), r'config\.evaluation\.images is -2'),
    (('data.degradation', 'strong'), 'choose one of standard, mild'),
    (('accumulate', '3'), 'batch_size 8 is not divisible by accumulate 3'),
    (('size', 'huge'), 'choose one of sd2, nano'),
    (('stage', 'colour'), 'choose one of dape'),
    (('data', 'x'), r'is a group of keys: set one of data\.captions'),
]


@pytest.mark.parametrize(('pair', 'message'), WRONG, ids=[f'{key}={text}' for (key, text), _ in WRONG])
def test_wrong_overrides_are_refused_with_what_to_write(pair, message):
    with pytest.raises(UserError, match=message):
        read('addsr', 'nano', pair)


def test_a_degraded_target_needs_captions_that_name_the_faults():
    with pytest.raises(UserError, match=r'config\.data: degraded_target is 0\.5 with captions=sidecar: set'):
        read('addsr', 'sd2', ('data.degraded_target', '0.5'))


def test_the_stage_that_makes_no_pictures_is_not_scored():
    with pytest.raises(UserError, match='stage dape makes no pictures: set eval_every=0 and preview_every=0'):
        read('dape', 'nano', ('eval_every', '1'))


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('pass', None),
        ('config.objective.timestep = 5', r'no option config\.objective\.timestep: did you mean timesteps'),
        ('config.stepz = 5', r'no option config\.stepz: did you mean steps'),
        ('del config.optimizer.clip', r'config\.optimizer\.clip is missing'),
        ("config.steps = '5'", r"mine\.py gives no config .*'steps'"),
        ("return type(config)({**config.to_dict(), 'steps': '5'})", r"config\.steps is '5': it must be a whole number"),
        ('config.data = 3', r'mine\.py gives no config'),
        ('config.ema = float("nan")', r'config\.ema is nan'),
        ('return None', 'gives no config'),
        ('1 / 0', r'mine\.py gives no config \(division by zero\)'),
    ],
)
def test_a_config_of_ones_own_is_checked_as_the_shipped_ones_are(tmp_path, line, message):
    path = own(tmp_path, line)
    if message is None:
        assert config.train_options(path, ()).stage == 'addsr'
        return
    with pytest.raises(UserError, match=message) as refused:
        config.train_options(path, ())
    assert len(str(refused.value).splitlines()) == 1


def test_the_folder_above_a_config_is_importable_while_it_runs(tmp_path):
    (tmp_path / 'project' / 'settings').mkdir(parents=True)
    (tmp_path / 'project' / 'settings' / 'mine.py').write_text(
        'from project_numbers import SIZE\nfrom ml_collections import ConfigDict\n'
        "def get_config():\n    return ConfigDict({'size': SIZE})\n"
    )
    (tmp_path / 'project' / 'project_numbers.py').write_text('SIZE = 3\n')
    before = list(sys.path)
    assert config.read(str(tmp_path / 'project' / 'settings' / 'mine.py'), (('size', '4'),)).size == 4
    assert sys.path == before


def test_files_that_are_no_config_are_refused(tmp_path):
    with pytest.raises(UserError, match='there is no config file'):
        config.load(str(tmp_path / 'nothing.py'))
    read()  # a config before this one leaves no get_config behind
    (tmp_path / 'empty.py').write_text('x = 1\n')
    with pytest.raises(UserError, match=r'gives no config .*get_config'):
        config.load(str(tmp_path / 'empty.py'))


def test_a_new_workdir_records_the_options_whole(tmp_path):
    config.claim(tmp_path / 'run', read())
    record = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert record == values(read())
    assert [p.name for p in (tmp_path / 'run').iterdir()] == ['config.json']


FREE = {
    'steps': '5',
    'mesh': 'data:2',
    'remat': 'full',
    'attention': 'chunked',
    'weights': 'elsewhere',
    'checkpoint_every': '3',
    'log_every': '2',
    'eval_every': '7',
    'preview_every': '0',
    'keep': '9',
    'data.path': 'moved',
    'data.lq_path': 'moved',
    'data.threads': '4',
    'data.workers': '1',
    'evaluation.path': 'moved',
    'evaluation.lq_path': 'moved',
    'profile.start': '1',
    'profile.steps': '1',
}


def test_another_start_may_change_lengths_intervals_places_and_devices_and_nothing_else(tmp_path):
    assert config.free(type(read())) == set(FREE)
    pairs = ('data.source', 'pairs')
    config.claim(tmp_path, read('addsr', 'nano', pairs))
    config.claim(tmp_path, read('addsr', 'nano', pairs, *FREE.items()))
    record = (tmp_path / 'config.json').read_text()
    assert json.loads(record)['data.path'] == 'moved'
    with pytest.raises(UserError, match=r'config\.optimizer\.learning_rate = 0\.\d+, not 0\.5: choose another'):
        config.claim(tmp_path, read('addsr', 'nano', pairs, ('optimizer.learning_rate', '0.5')))
    with pytest.raises(UserError, match=r"config\.stage = 'addsr', not 'seesr'"):
        config.claim(tmp_path, read('seesr'))
    assert (tmp_path / 'config.json').read_text() == record


def test_a_run_goes_on_with_the_weights_that_it_began_with_wherever_they_lie(tmp_path):
    run, again = tmp_path / 'run', read('addsr', 'nano', ('weights', 'moved'))
    config.claim(run, read(), 'one')
    config.claim(run, again, 'one')
    config.claim(run, again)  # of weights from before they had hashes
    with pytest.raises(UserError, match='began with other weights than moved holds now: give those again'):
        config.claim(run, again, 'another')
    config.claim(tmp_path / 'older', read())
    config.claim(tmp_path / 'older', read(), 'one')
    with pytest.raises(UserError, match='began with other weights'):
        config.claim(tmp_path / 'older', read(), 'another')


def test_a_run_from_before_an_option_was_goes_on_with_what_it_did(tmp_path):
    config.claim(tmp_path, read())
    record = json.loads((tmp_path / 'config.json').read_text())
    del record['objective.lora_rank'], record['accumulate']
    (tmp_path / 'config.json').write_text(json.dumps({**record, 'objective.gone': 3}))
    with pytest.raises(UserError, match=r'config\.accumulate = 1, not 2'):
        config.claim(tmp_path, read('addsr', 'nano', ('accumulate', '2')))
    config.claim(tmp_path, read())
    assert json.loads((tmp_path / 'config.json').read_text()) == values(read())


@pytest.mark.parametrize('text', ['', '{"stage": "addsr"', '[]', '{}'])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(UserError, match=r'config\.json .*choose another --workdir'):
        config.claim(tmp_path, read())
    assert (tmp_path / 'config.json').read_text() == text


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / 'run').write_text('')
    with pytest.raises(UserError, match='is a file'):
        config.claim(tmp_path / 'run', read())


def test_the_help_has_every_key_of_every_stage():
    text = config_help()
    for name in RECORDED:
        for key in RECORDED[name]:
            assert f'  {key} ' in text or f'  {key}\n' in text, key


def test_the_help_of_train_imports_nothing_that_is_slow():
    code = (
        'import sys\nfrom addsr_jax import train\n'
        "try:\n    train.main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "slow = {'jax', 'flax', 'numpy', 'cv2', 'grain', 'tensorflow', 'pydantic', 'ml_collections'}\n"
        'assert not slow & set(sys.modules), slow & set(sys.modules)\n'
    )
    told = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert told.startswith('usage: addsr train')
    assert '--distributed' in told
    assert 'objective, stage dape' in told
