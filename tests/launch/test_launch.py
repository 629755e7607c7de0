"""The launch scripts print what they would do, and shellcheck has nothing to say."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / 'launch').glob('*.sh'))
RUN = ('--config', 'configs/addsr.py:nano', '--workdir', 'runs/x', '--config.steps=5')


def dry(script, *arguments, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in ('XLA_FLAGS', 'JAX_PLATFORMS', 'GLIBC_TUNABLES')}
    command = ['bash', str(ROOT / 'launch' / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**clean, **environment})


def shellcheck() -> str:
    beside = Path(sys.executable).with_name('shellcheck')
    return str(beside) if beside.exists() else shutil.which('shellcheck') or 'shellcheck'


@pytest.mark.parametrize(
    'script',
    [*SCRIPTS, ROOT / 'launch' / 'common.bash', ROOT / 'benchmarks' / 'gpu_kit.sh', ROOT / '.ci' / 'run'],
    ids=lambda p: p.name,
)
def test_scripts_are_clean(script):
    done = subprocess.run([shellcheck(), '-x', str(script)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_a_dry_run_prints_flags_and_the_train_command(script):
    done = dry(script, '--dry_run', *RUN)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1].endswith(f'-m addsr_jax.train {" ".join(RUN)}')
    assert 'XLA_FLAGS=' in done.stdout


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_a_dry_run_may_be_asked_for_anywhere_and_its_line_can_be_pasted(script):
    done = dry(script, *RUN, '--dry_run', '--config.data.path=my photos', PYTHON='./no python')
    words = shlex.split(done.stdout.splitlines()[-1])
    assert words == ['./no python', '-m', 'addsr_jax.train', *RUN, '--config.data.path=my photos']


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_the_environment_of_make_install_is_found(script):
    wanted = '.venv/bin/python' if (ROOT / '.venv' / 'bin' / 'python').exists() else 'python3'
    assert dry(script, '--dry_run', *RUN).stdout.splitlines()[-1].split()[0] == wanted
    assert dry(script, '--dry_run', *RUN, PYTHON=sys.executable).stdout.splitlines()[-1].split()[0] == sys.executable


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_the_callers_flags_win(script):
    done = dry(script, '--dry_run', *RUN, XLA_FLAGS='--mine')
    assert 'XLA_FLAGS=--mine' in done.stdout


@pytest.mark.parametrize('verb', ['create', 'install', 'train', 'resume', 'delete'])
def test_every_verb_of_a_tpu_slice_is_one_gcloud_call(verb):
    extra = RUN if verb in ('train', 'resume') else ()
    done = dry('tpu_vm.sh', '--dry_run', verb, 'slice', *extra, REPOSITORY='https://example.org/x.git')
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith('gcloud compute tpus tpu-vm')
    assert 'slice' in line
    if verb in ('train', 'resume'):
        assert '--worker=all' in line
        assert 'addsr_jax.train --distributed --config' in line


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [('local.sh', ()), ('gpu.sh', ()), ('tpu_vm.sh', ()), ('tpu_vm.sh', ('fly', 'x')), ('tpu_vm.sh', ('install', 'x'))],
)
def test_wrong_use_is_one_line_and_exit_code_2(script, arguments):
    done = dry(script, *arguments, REPOSITORY='')
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
