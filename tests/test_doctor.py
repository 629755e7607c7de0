"""addsr doctor: everything is said, and what is wrong comes with the command that mends it."""

import importlib.metadata
import shutil
import sys
from collections import namedtuple
from pathlib import Path

import jax
import pytest

from addsr_jax import doctor, runtime
from addsr_jax.errors import guard
from addsr_jax.weights import bundle as bundles


def told(look) -> list[doctor.Finding]:
    return list(doctor.caught(look))


def wrong(look) -> str:
    (found,) = [finding.wrong for finding in told(look) if finding.wrong]
    return found


def test_a_healthy_machine_is_described_and_nothing_is_wrong(capsys):
    assert guard(doctor.main, []) == 0
    said = capsys.readouterr().out
    for beginning in (
        'addsr-jax ',
        'jax ',
        'devices: 8 x cpu',
        'memory: ',
        'cache: ',
        'weights: nano, ',
        'extra gcs: ',
    ):
        assert any(line.startswith(beginning) for line in said.splitlines()), beginning
    assert said.splitlines()[-1] == 'nothing is wrong'


def test_all_that_is_wrong_is_told_at_once_and_the_exit_code_is_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runtime, 'free_memory', lambda: 1e6)
    assert guard(doctor.main, ['--weights', str(tmp_path / 'nothing')]) == 2
    found = capsys.readouterr()
    assert found.err == 'addsr: 2 things are wrong: see the lines with an arrow above\n'
    assert '  -> less than 1.5 GB is free: close other programs' in found.out
    assert 'nothing holds no model.json' in found.out
    assert 'extra gcs: ' in found.out


def test_a_package_that_is_missing_or_too_old_is_named_with_the_command_that_brings_it(monkeypatch):
    versions = {'jax': '0.4.1', 'flax': None}
    real = doctor.installed
    monkeypatch.setattr(doctor, 'installed', lambda name: versions.get(name, real(name)))
    problems = [finding.wrong for finding in told(doctor.versions) if finding.wrong]
    assert any(line.startswith('jax is 0.4.1, and ') and "pip install 'jax" in line for line in problems)
    assert any(line.startswith('flax is not installed: pip install ') for line in problems)
    assert len(problems) == 2


def test_an_untested_python_is_named(monkeypatch):
    monkeypatch.setattr(sys, 'version_info', namedtuple('V', 'major minor')(3, 10))
    assert wrong(doctor.versions) == 'Python 3.11 to 3.13 is what it is tested on: python3.13 -m venv .venv'


def test_a_package_that_pip_does_not_know_is_said(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'metadata', unknown)
    assert wrong(doctor.extras) == 'addsr-jax is not installed in this Python: pip install . in its folder'


def test_an_extra_counts_what_the_extras_of_its_packages_add(monkeypatch):
    lines = {
        'addsr-jax': ['jax>=0.10', "jax[cuda12]>=0.10; extra == 'cuda'", "gcsfs; extra == 'gcs'"],
        'jax': ['numpy>=2', "jax-cuda12-plugin>=0.10; extra == 'cuda12'"],
    }
    monkeypatch.setattr(importlib.metadata, 'requires', lines.get)
    assert set(doctor.required('addsr-jax', '')) == {'jax'}
    assert set(doctor.required('addsr-jax', 'cuda')) == {'jax', 'jax-cuda12-plugin'}


def test_a_gpu_that_jax_does_not_use_is_told_with_what_brings_it(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, 'TPU', (tmp_path, ('accel[0-9]*',)))
    monkeypatch.setattr(doctor, 'NVIDIA', tmp_path / 'version')
    assert doctor.idle('cpu', '') == ''
    (tmp_path / 'version').write_text('550')
    assert doctor.idle('cpu', '').endswith("pip install 'addsr-jax[cuda]'")
    assert doctor.idle('cpu', 'cpu').endswith('JAX_PLATFORMS=cpu hides it: unset JAX_PLATFORMS')
    assert doctor.idle('gpu', '') == ''
    (tmp_path / 'version').unlink()
    (tmp_path / 'accel0').touch()
    assert doctor.idle('cpu', '').endswith("pip install 'addsr-jax[tpu]'")


@pytest.mark.parametrize('error', [RuntimeError("Unable to initialize backend 'tpu'"), AssertionError()])
def test_a_platform_that_is_asked_for_and_is_not_here_is_told_once_with_what_mends_it(monkeypatch, error):
    def none():
        raise error

    monkeypatch.setattr(jax, 'devices', none)
    monkeypatch.setenv('JAX_PLATFORMS', 'tpu')
    assert wrong(doctor.devices) == 'jax reaches no device of JAX_PLATFORMS=tpu here: unset JAX_PLATFORMS'
    (found,) = told(doctor.memory)
    assert found.text.startswith('memory: ')
    assert found.wrong == ''
    monkeypatch.delenv('JAX_PLATFORMS')
    assert type(error).__name__ in wrong(doctor.devices)


def test_a_cache_that_takes_nothing_is_told(monkeypatch, tmp_path):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(runtime, 'cache_folder', lambda: tmp_path / 'file')
    assert wrong(doctor.cache).endswith('export ADDSR_CACHE=FOLDER')


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: namedtuple('U', 'free')(1000))
    assert wrong(doctor.cache) == 'less than 1 GB of disk is free: export ADDSR_CACHE=FOLDER of another disk'


def test_damaged_weights_are_told(tmp_path):
    shutil.copytree(bundles.NANO, tmp_path / 'model')
    Path(tmp_path, 'model', 'tokenizer', 'merges.txt').write_text('a b')
    assert 'merges.txt is not what was written' in wrong(lambda: doctor.weights(str(tmp_path / 'model')))


@pytest.mark.parametrize('error', [ImportError('no libcuda'), RuntimeError('no device')])
def test_a_library_that_breaks_is_a_line_and_the_other_looks_go_on(error):
    def look():
        yield doctor.Finding('so far')
        raise error

    first, second = told(look)
    assert first.text == 'so far'
    assert second.wrong == f'{type(error).__name__}: {error}: pip install --force-reinstall addsr-jax'
