"""How processes and programs are set up."""

import os
import subprocess
import sys

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

import addsr_jax
from addsr_jax import runtime
from addsr_jax.errors import UserError

RESIDENT = """
import re, numpy as np
from addsr_jax.runtime import return_freed_memory
def resident():
    return int(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read()).group(1)) // 1024
pieces = [np.ones(10_000, np.uint8) for _ in range(20_000)]  # 200 MB, too small each to be mapped alone
last = np.ones(10_000, np.uint8)
full = resident()
del pieces
return_freed_memory()
print(full - resident())
"""


def test_a_training_process_has_a_power_of_two_devices_and_keeps_what_the_caller_set(monkeypatch):
    monkeypatch.delenv('XLA_FLAGS', raising=False)
    flag, devices = runtime.training_environment()['XLA_FLAGS'].split('=')
    assert flag == '--xla_force_host_platform_device_count'
    assert int(devices) in (1, 2, 4, 8)
    assert int(devices) <= (os.cpu_count() or 1)
    monkeypatch.setenv('XLA_FLAGS', '--mine')
    monkeypatch.setenv('MALLOC_ARENA_MAX', '7')
    environment = runtime.training_environment()
    assert (environment['XLA_FLAGS'], environment['MALLOC_ARENA_MAX']) == ('--mine', '7')


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc')
def test_freed_memory_goes_back_to_the_system():
    done = subprocess.run([sys.executable, '-c', RESIDENT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150  # MB of 200


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Sets where jax has been told to keep programs; as it was afterwards."""
    names = ('compilation_cache_dir', 'persistent_cache_min_compile_time_secs', 'persistent_cache_min_entry_size_bytes')
    before = {f'jax_{name}': getattr(jax.config, f'jax_{name}') for name in names}
    monkeypatch.delenv('ADDSR_CACHE')
    monkeypatch.setenv('HOME', str(tmp_path))
    yield lambda folder: jax.config.update('jax_compilation_cache_dir', folder)
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.mark.parametrize(
    ('chosen', 'by_jax', 'kept'),
    [
        ('', None, '{home}/.cache/addsr_jax'),
        ('', '{home}/mine', '{home}/mine'),
        ('{home}/x', '{home}/mine', '{home}/x'),
        ('~/x', None, '{home}/x'),
    ],
)
def test_load_keeps_compiled_programs_where_the_commands_do(told, monkeypatch, tmp_path, chosen, by_jax, kept):
    told(by_jax and by_jax.format(home=tmp_path))
    monkeypatch.setenv('ADDSR_CACHE', chosen.format(home=tmp_path))
    with pytest.raises(UserError, match=r'holds no model\.json'):
        addsr_jax.load(tmp_path)
    assert jax.config.jax_compilation_cache_dir == kept.format(home=tmp_path)  # pyright: ignore


def test_where_nothing_can_be_kept_one_line_says_so_once(told, monkeypatch, capsys, tmp_path):
    folder = tmp_path / 'file' / 'x'
    folder.parent.write_text('')
    told(None)
    monkeypatch.setenv('ADDSR_CACHE', str(folder))
    for _ in range(2):
        runtime.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None  # pyright: ignore
    (line,) = capsys.readouterr().err.splitlines()
    assert f'compiled programs are not kept, and every start compiles: nothing can be written into {folder}' in line


@pytest.mark.parametrize(
    ('own', 'limits', 'left'),
    [
        ('/', {'.': (16e9, 15.9e9, 12e9)}, 12.1e9),  # a container: 12 GB of what it uses are files
        ('/job/step', {'job': (8e9, 3e9, 1e9), 'job/step': ('max', 2e9, 0)}, 6e9),
        ('/job/step', {'.': (9e9, 8e9, 0), 'job': (8e9, 3e9, 0), 'job/step': (4e9, 2e9, 1e9)}, 1e9),
    ],
)
def test_free_memory_is_what_every_group_leaves_and_kept_files_are_free(own, limits, left, monkeypatch, tmp_path):
    (tmp_path / 'own').write_text(f'0::{own}\n')
    for name, (most, used, files) in limits.items():
        group = tmp_path / 'groups' / name
        group.mkdir(parents=True, exist_ok=True)
        (group / 'memory.max').write_text(f'{most if most == "max" else int(most)}\n')
        (group / 'memory.current').write_text(f'{int(used)}\n')
        (group / 'memory.stat').write_text(f'anon 5\ninactive_file {int(files)}\n')
    monkeypatch.setattr(runtime, 'OWN_GROUP', tmp_path / 'own')
    monkeypatch.setattr(runtime, 'GROUPS', tmp_path / 'groups')
    meminfo = tmp_path / 'meminfo'
    meminfo.write_text(f'MemAvailable: {10**9} kB\n')
    monkeypatch.setattr(runtime, 'MEMINFO', meminfo)
    assert runtime.free_memory() == left


def test_without_groups_free_memory_is_the_system_s(monkeypatch, tmp_path):
    (tmp_path / 'meminfo').write_text('MemAvailable: 5 kB\n')
    monkeypatch.setattr(runtime, 'MEMINFO', tmp_path / 'meminfo')
    monkeypatch.setattr(runtime, 'OWN_GROUP', tmp_path / 'none')
    assert runtime.free_memory() == 5 * 1024
