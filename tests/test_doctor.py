"""addsr doctor: everything is said, and what is wrong comes with the command that mends it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import jax
import pytest

from addsr_jax import doctor, installation, runtime
from addsr_jax.errors import guard
from addsr_jax.weights import bundle as bundles
from tests.test_bare_install import WITHOUT


def told(look) -> list[doctor.Finding]:
    return list(doctor.caught(look))


def wrong(look) -> str:
    (found,) = [finding.wrong for finding in told(look) if finding.wrong]
    return found


@pytest.fixture
def by_name(monkeypatch):
    """As if pip had been given the package's name."""
    monkeypatch.setattr(installation, 'origin', lambda: ('', {}))


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


@pytest.mark.parametrize('module', ['pydantic', 'PIL', 'cv2'])
def test_a_half_install_is_told_by_the_package_that_does_not_open(module):
    """In a Python that lacks one module of those that pip knows."""
    command = [sys.executable, '-c', WITHOUT, module, 'doctor']
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, 'JAX_PLATFORMS': 'cpu'})
    distribution = {'PIL': 'pillow', 'cv2': 'opencv-python-headless'}.get(module, module)
    assert f'  -> {distribution} does not open (ModuleNotFoundError: No module named ' in run.stdout
    assert f"pip install --force-reinstall --no-deps '{distribution}>=" in run.stdout
    assert 'cache: ' in run.stdout
    assert run.returncode == 2
    assert run.stderr.endswith('see the lines with an arrow above\n')


def test_a_library_without_one_of_the_system_s_is_told(monkeypatch):
    def without(name):
        if name == 'cv2':
            raise ImportError('libGL.so.1: cannot open shared object file')

    monkeypatch.setattr(importlib, 'import_module', without)
    said = wrong(doctor.libraries)
    assert said.startswith('opencv-python-headless does not open (ImportError: libGL.so.1: cannot open')
    assert said.endswith("pip install --force-reinstall --no-deps 'opencv-python-headless>=4.10'")


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


@pytest.mark.parametrize(
    ('version', 'line'),
    [
        ('6.31.2', 'extra serve: installed'),
        ('5.49.1', 'extra serve: gradio is 5.49.1, and <7,>=6.31 is needed; pip install '),
        (None, "extra serve: pip install 'addsr-jax[serve]'"),
    ],
)
def test_an_extra_whose_package_is_of_another_version_is_not_installed(monkeypatch, by_name, version, line):
    real = doctor.installed
    monkeypatch.setattr(doctor, 'installed', lambda name: version if name == 'gradio' else real(name))
    (found,) = [finding for finding in told(doctor.extras) if finding.text.startswith('extra serve')]
    assert found.text.startswith(line)


def test_embedded_weights_come_back_by_pip_and_into_a_linked_checkout_by_git(monkeypatch, by_name):
    assert doctor.embedded_again() == 'pip install --force-reinstall --no-deps addsr-jax'
    monkeypatch.setattr(installation, 'origin', lambda: ('file:///a/b', {'dir_info': {'editable': True}}))
    assert doctor.embedded_again() == 'git -C /a/b checkout -- addsr_jax/weights/nano'


def test_a_gpu_that_jax_does_not_use_is_told_with_what_brings_it(monkeypatch, tmp_path, by_name):
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


def test_a_cache_whose_name_no_disk_can_have_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, 'cache_folder', lambda: tmp_path / ('x' * 300))
    assert wrong(doctor.cache) == 'nothing can be written there (File name too long): export ADDSR_CACHE=FOLDER'


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: namedtuple('U', 'free')(1000))
    assert wrong(doctor.cache) == 'less than 1 GB of disk is free: export ADDSR_CACHE=FOLDER of another disk'


def test_damaged_weights_are_told(tmp_path):
    shutil.copytree(bundles.NANO, tmp_path / 'model')
    Path(tmp_path, 'model', 'tokenizer', 'merges.txt').write_text('a b')
    assert 'merges.txt is not what was written' in wrong(lambda: doctor.weights(str(tmp_path / 'model')))


@pytest.mark.parametrize('error', [ImportError('no libcuda'), RuntimeError('no device')])
def test_a_library_that_breaks_is_a_line_and_the_other_looks_go_on(error, by_name):
    def look():
        yield doctor.Finding('so far')
        raise error

    first, second = told(look)
    assert first.text == 'so far'
    assert second.wrong == f'{type(error).__name__}: {error}: pip install --force-reinstall addsr-jax'
