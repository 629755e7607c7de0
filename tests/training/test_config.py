"""Configs are plain data: read, overridden by type, recorded, and compared at the next start."""

import json
from pathlib import Path

import pytest

from addsr_jax.errors import UserError
from addsr_jax.training import config as config_file
from addsr_jax.training import job
from addsr_jax.training.loop import LoopConfig

ROOT = Path(__file__).parents[2]
STAGES = ('dape', 'autoencoder', 'seesr', 'addsr')
COMMON = ('seed', 'steps', 'batch_size', 'checkpoint_every', 'keep', 'eval_every', 'log_every', 'mesh', 'weights')


def read(name='addsr', size='nano', *overrides):
    return config_file.read(f'{ROOT}/configs/{name}.py:{size}', overrides)


@pytest.mark.parametrize('name', STAGES)
@pytest.mark.parametrize('size', ['nano', 'sd2'])
def test_every_config_resolves_to_checked_dataclasses(name, size):
    config = read(name, size)
    assert set(COMMON) <= set(config)
    assert config.is_locked
    assert isinstance(job.loop_config(config), LoopConfig)
    assert job.data_config(config).hr_size == config.data.hr_size
    assert job.make_stage(config, job.MODELS[size]).name == name


def test_sd2_is_the_size_without_a_suffix():
    assert config_file.read(f'{ROOT}/configs/addsr.py', ()).size == 'sd2'


def test_overrides_take_the_type_of_their_key():
    pairs = (
        ('steps', '7'),
        ('ema', '0.5'),
        ('mesh', 'data:2'),
        ('objective.d_grad_leak', 'true'),
        ('objective.timesteps', '(999, 499)'),
    )
    config = read('addsr', 'nano', *pairs)
    assert (config.steps, config.ema, config.mesh) == (7, 0.5, 'data:2')
    assert config.objective.d_grad_leak is True
    assert tuple(config.objective.timesteps) == (999, 499)


@pytest.mark.parametrize(
    ('pair', 'message'),
    [
        (('step', '7'), 'did you mean steps'),
        (('data.pth', 'x'), 'did you mean data.path'),
        (('steps', 'many'), r'--config\.steps=many is no int'),
        (('objective.d_grad_leak', 'maybe'), 'is no bool'),
        (('objective.timesteps', '999'), 'is no tuple'),
        (('data', 'x'), 'is a group of keys'),
    ],
)
def test_wrong_overrides_are_refused_with_what_to_write(pair, message):
    with pytest.raises(UserError, match=message):
        read('addsr', 'nano', pair)


def test_files_that_are_no_config_are_refused(tmp_path):
    with pytest.raises(UserError, match='there is no config file'):
        config_file.read(str(tmp_path / 'nothing.py'), ())
    (tmp_path / 'empty.py').write_text('x = 1\n')
    with pytest.raises(UserError, match=r'no get_config\(size\)'):
        config_file.read(str(tmp_path / 'empty.py'), ())


def test_a_new_workdir_records_the_config_whole(tmp_path):
    config_file.claim(tmp_path / 'run', read())
    record = json.loads((tmp_path / 'run' / 'config.json').read_text())
    assert record == config_file.flat(read().to_dict())
    assert [p.name for p in (tmp_path / 'run').iterdir()] == ['config.json']


def test_another_start_may_change_steps_logs_checkpoints_and_workers_and_nothing_else(tmp_path):
    config_file.claim(tmp_path, read())
    free = (('steps', '5'), ('checkpoint_every', '3'), ('log_every', '2'), ('data.threads', '4'), ('data.workers', '1'))
    config_file.claim(tmp_path, read('addsr', 'nano', *free))
    record = (tmp_path / 'config.json').read_text()
    with pytest.raises(UserError, match=r'config\.optimizer\.learning_rate = 0\.\d+, not 0\.5: choose another'):
        config_file.claim(tmp_path, read('addsr', 'nano', ('optimizer.learning_rate', '0.5')))
    with pytest.raises(UserError, match=r'config\.\w+'):
        config_file.claim(tmp_path, read('seesr'))
    assert (tmp_path / 'config.json').read_text() == record


def test_a_workdir_that_is_a_file_is_refused(tmp_path):
    (tmp_path / 'run').write_text('')
    with pytest.raises(UserError, match='is a file'):
        config_file.claim(tmp_path / 'run', read())
