"""The launch scripts print what they would do, and shellcheck has nothing to say."""

import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / 'launch').glob('*.sh'))
RUN = ('--config', 'configs/addsr.py:nano', '--workdir', 'runs/x', '--config.steps=5')


def dry(script, *arguments, **environment):
    of_callers = ('XLA_FLAGS', 'JAX_PLATFORMS', 'GLIBC_TUNABLES', 'PYTHON')  # the last from `make test PYTHON=...`
    clean = {k: v for k, v in os.environ.items() if k not in of_callers}
    command = ['bash', str(ROOT / 'launch' / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**clean, **environment})


def command_of(done) -> list[str]:
    """The words of a dry run without the environment before them."""
    words = shlex.split(done.stdout)
    return words[next(i for i, word in enumerate(words) if word == '-m') - 1 :]


def shellcheck() -> str:
    beside = Path(sys.executable).with_name('shellcheck')
    return str(beside) if beside.exists() else shutil.which('shellcheck') or 'shellcheck'


@pytest.mark.parametrize(
    'script',
    [
        *SCRIPTS,
        ROOT / 'launch' / 'slurm.sbatch',
        ROOT / 'launch' / 'common.bash',
        ROOT / 'benchmarks' / 'gpu_kit.sh',
        ROOT / '.ci' / 'run',
    ],
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
    assert command_of(done) == ['./no python', '-m', 'addsr_jax.train', *RUN, '--config.data.path=my photos']


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh', 'slurm.sbatch'])
def test_what_a_dry_run_prints_runs_with_its_environment_when_it_is_pasted(script, tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/usr/bin/env bash\necho "$XLA_FLAGS|$*"\n')
    python.chmod(0o755)
    line = dry(script, *RUN, '--dry_run', PYTHON=str(python), XLA_FLAGS='--one=1 --two=2').stdout
    pasted = subprocess.run(['bash', '-c', line], capture_output=True, text=True, check=False, env={'PATH': os.defpath})
    assert pasted.stdout.startswith(f'--one=1 --two=2|-m addsr_jax.train {" ".join(RUN)}'), pasted.stderr


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_the_environment_of_make_install_is_found(script):
    wanted = '.venv/bin/python' if (ROOT / '.venv' / 'bin' / 'python').exists() else 'python3'
    assert command_of(dry(script, '--dry_run', *RUN))[0] == wanted
    assert command_of(dry(script, '--dry_run', *RUN, PYTHON=sys.executable))[0] == sys.executable


@pytest.mark.parametrize('there', ['nproc', 'getconf'])
def test_every_core_becomes_a_device_where_there_is_no_nproc_too(tmp_path, there):
    for name in ('bash', 'dirname', 'basename'):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / there).write_text('#!/usr/bin/env bash\necho 4\n')
    (tmp_path / there).chmod(0o755)
    (tmp_path / 'env').symlink_to(str(shutil.which('env')))
    done = dry('local.sh', '--dry_run', *RUN, PATH=str(tmp_path))
    assert 'XLA_FLAGS=--xla_force_host_platform_device_count=4' in done.stdout
    assert done.stderr == ''


@pytest.mark.parametrize('script', ['local.sh', 'gpu.sh'])
def test_the_callers_flags_win(script):
    done = dry(script, '--dry_run', *RUN, XLA_FLAGS='--mine')
    assert 'XLA_FLAGS=--mine' in done.stdout


@pytest.mark.parametrize('verb', ['create', 'state', 'install', 'train', 'resume', 'log', 'delete'])
def test_every_verb_of_a_tpu_slice_is_one_gcloud_call(verb):
    extra = RUN if verb in ('train', 'resume') else ()
    done = dry('tpu_vm.sh', verb, 'slice', *extra, '--dry_run', REPOSITORY='https://example.org/x.git')
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    words = shlex.split(line)  # as a shell would read what is pasted
    assert words[:3] == ['gcloud', 'compute', 'tpus']
    assert 'slice' in words
    if verb in ('train', 'resume'):
        assert '--worker=all' in words
        assert f'launch/supervise.sh --distributed {" ".join(RUN)}' in shlex.join(words).replace('\\', '')
        assert 'nohup' in words[-1]


def test_a_slice_that_is_kept_is_asked_for_installed_and_trained_on():
    done = dry('tpu_vm.sh', '--dry_run', 'keep', 'slice', *RUN, REPOSITORY='x', SPOT='yes')
    create, install, train = (shlex.split(line) for line in done.stdout.splitlines())
    assert create[3:6] == ['queued-resources', 'create', 'slice']
    assert '--spot' in create
    assert 'pip install' in install[-1]
    assert 'supervise.sh' in train[-1]


def supervised(tmp_path, *codes):
    """launch/supervise.sh with a python that ends with these codes, one start after the other."""
    python = tmp_path / 'python'
    (tmp_path / 'codes').write_text('\n'.join(map(str, codes)) + '\n')
    python.write_text(
        f'#!/usr/bin/env bash\necho "$@" >> {tmp_path}/starts\ncode=$(head -n 1 {tmp_path}/codes)\n'
        f'sed -i 1d {tmp_path}/codes\nexit "$code"\n'
    )
    python.chmod(0o755)
    done = dry('supervise.sh', *RUN, PYTHON=str(python), PAUSE='0')
    return done.returncode, (tmp_path / 'starts').read_text().splitlines()


def test_training_is_started_again_until_it_is_done(tmp_path):
    code, starts = supervised(tmp_path, 1, 137, 0)
    assert code == 0
    assert starts == [f'-m addsr_jax.train {" ".join(RUN)}'] * 3


def test_a_mistake_of_the_command_ends_the_starts(tmp_path):
    code, starts = supervised(tmp_path, 134, 2, 0)
    assert code == 2
    assert len(starts) == 2


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['Ctrl-C', 'SIGTERM'])
@pytest.mark.parametrize('code', [75, 128 + 2, 0, None], ids=['a checkpoint', 'at once', 'done', 'in the pause'])
def test_a_signal_ends_the_starts_with_the_code_of_the_training(tmp_path, number, code):
    python, began = tmp_path / 'python', tmp_path / 'began'
    python.write_text(
        f'#!{sys.executable}\nimport signal, sys, time\n'
        f'signal.signal({number}, lambda *_: sys.exit({code}))\n'
        f'open({str(began)!r}, "a").write("x")\n'
        f'{"sys.exit(1)" if code is None else "while True: time.sleep(0.1)"}\n'
    )
    python.chmod(0o755)
    # A shell's background leaves Ctrl-C out, for all that it starts: this hears it again.
    hears = f'import os, signal, sys; signal.signal({number}, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])'
    command = [sys.executable, '-c', hears, 'bash', str(ROOT / 'launch' / 'supervise.sh'), *RUN]
    environment = {**os.environ, 'PYTHON': str(python), 'PAUSE': '1' if code is not None else '60'}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        try:
            assert run.stderr is not None
            if code is None:
                assert 'next start in 60 s' in run.stderr.readline()
            else:
                deadline = time.monotonic() + 20
                while not began.exists() and time.monotonic() < deadline:
                    time.sleep(0.05)
            os.killpg(run.pid, number)
            assert run.wait(timeout=20) == (1 if code is None else code)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    assert began.read_text() == 'x'


def test_slurm_s_nodes_run_the_train_command_together():
    done = dry('slurm.sbatch', *RUN, '--dry_run', '--config.data.path=my photos')
    assert command_of(done)[1:] == ['-m', 'addsr_jax.train', *RUN, '--config.data.path=my photos', '--distributed']


@pytest.mark.parametrize(('gpus', 'ids'), [('4', '0,1,2,3'), ('1', '0')])
def test_slurm_s_process_takes_every_gpu_of_its_node(gpus, ids):
    words = shlex.split(dry('slurm.sbatch', *RUN, '--dry_run', SLURM_GPUS_ON_NODE=gpus).stdout)
    assert f'JAX_LOCAL_DEVICE_IDS={ids}' in words


def test_a_slice_that_is_kept_outlives_calls_that_fail_and_ends_with_the_training(tmp_path):
    code, said, calls = kept(
        tmp_path,
        'describe 1 UNAVAILABLE: try again',
        'describe 1 NOT_FOUND: Resource',
        'create 1 ALREADY_EXISTS',
        'describe 0 PROVISIONING',
        'describe 0 ACTIVE',
        'install 1 ssh: connection refused',
        'describe 0 ACTIVE',
        'install 0',
        'train 0',
        'describe 0 ACTIVE',
        'ended 1',
        'train 0',
        'describe 0 ACTIVE',
        'ended 0 nobody has',
        'train 0',
        'describe 0 SUSPENDED',
        'delete 1 BUSY',
        'describe 0 SUSPENDED',
        'delete 0',
        'describe 1 NOT_FOUND: Resource',
        'create 0',
        'describe 0 ACTIVE',
        'install 0',
        'train 0',
        'describe 0 ACTIVE',
        'ended 0 ended w-0 0',
    )
    assert (code, calls) == (0, ''), said
    assert 'training on slice is done' in said


def test_a_slice_whose_command_is_wrong_is_not_watched_for_ever(tmp_path):
    began = ('describe 0 ACTIVE', 'install 0', 'train 0', 'describe 0 ACTIVE')
    code, said, calls = kept(tmp_path, *began, r'ended 0 ended w-0 0\nended w-3 2\nended w-4')
    assert (code, calls) == (2, '')
    assert 'ended with 2 on w-3' in said


def kept(tmp_path, *answers):
    """launch/tpu_vm.sh keep beside a gcloud that expects these calls, each 'WHICH CODE WORDS'; what is left of them."""
    (tmp_path / 'answers').write_text('\n'.join(answers) + '\n')
    gcloud = tmp_path / 'gcloud'
    gcloud.write_text(f"""#!/usr/bin/env bash
case "$*" in
  *describe*) which=describe ;; *' create '*) which=create ;; *delete*) which=delete ;;
  *pip*) which=install ;; *supervise*) which=train ;; *ended*) which=ended ;;
esac
read -r expected code words < {tmp_path}/answers
sed -i 1d {tmp_path}/answers
if [[ "$which" != "$expected" ]]; then
  echo "$which, not $expected" >> {tmp_path}/answers
  pkill -f "keep slice.*{tmp_path}"
fi
echo "WARNING: gcloud is old" >&2
[[ $which == describe && $code == 1 ]] && echo "$words" >&2 || echo -e "$words"
exit "$code"
""")
    gcloud.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    done = dry('tpu_vm.sh', 'keep', 'slice', *RUN, str(tmp_path), REPOSITORY='x', PAUSE='0', PATH=path)
    return done.returncode, done.stdout + done.stderr, (tmp_path / 'answers').read_text()


def test_a_worker_starts_training_once_and_says_how_it_ended(tmp_path):
    home = tmp_path / 'addsr_jax'
    (home / 'launch').mkdir(parents=True)
    supervise = home / 'launch' / 'supervise.sh'
    supervise.write_text(
        '#!/usr/bin/env bash\necho "$@" >> starts\nfor _ in {1..600}; do [[ -e end ]] && exit 2; sleep 0.05; done\n\n'
    )
    supervise.chmod(0o755)
    line = dry('tpu_vm.sh', '--dry_run', 'train', 'slice', *RUN, '--config.data.path=my photos').stdout
    remote = shlex.split(line)[-1].removeprefix('--command=').replace('/dev/shm/', f'{tmp_path}/')

    def worker(command):
        done = subprocess.run(['bash', '-c', command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, '')

    def until(path):
        deadline = time.monotonic() + 20
        while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)

    worker(remote)
    until(home / 'starts')
    again = remote.replace('rm -f ended &&', '')
    assert again != remote
    worker(again)  # as a minute later: it is at work
    (home / 'end').touch()
    until(home / 'ended')
    worker(again)  # it has ended
    assert (home / 'ended').read_text() == '2\n'
    assert (home / 'starts').read_text() == f'--distributed {" ".join(RUN)} --config.data.path=my photos\n'


def test_a_worker_without_a_checkout_starts_nothing_and_fails(tmp_path):
    line = dry('tpu_vm.sh', '--dry_run', 'train', 'slice', *RUN).stdout
    remote = shlex.split(line)[-1].removeprefix('--command=').replace('/dev/shm/', f'{tmp_path}/')
    done = subprocess.run(['bash', '-c', remote], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'addsr_jax' in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(('topology', 'hosts'), [('1x1', 1), ('2x2', 1), ('4x4', 4), ('8x16', 32), ('2x2x2', 2)])
def test_kubernetes_gets_a_pod_for_every_host_of_the_slice(topology, hosts):
    yaml = pytest.importorskip('yaml', reason='pip install pyyaml; ml_collections brings it')
    done = dry('gke.sh', 'run', 'registry/addsr:1', *RUN, '--dry_run', '--config.data.path=a "b"', TOPOLOGY=topology)
    job = yaml.safe_load(done.stdout)['spec']['replicatedJobs'][0]['template']['spec']
    assert job['podFailurePolicy']['rules'][0]['onExitCodes']['values'] == [2]
    assert job['parallelism'] == job['completions'] == hosts
    pod = job['template']['spec']
    assert pod['nodeSelector']['cloud.google.com/gke-tpu-topology'] == topology
    command = pod['containers'][0]['command']
    chips = pod['containers'][0]['resources']['limits']['google.com/tpu']
    assert chips * hosts == math.prod(map(int, topology.split('x')))
    assert command[:4] == ['python', '-m', 'addsr_jax.train', '--distributed']
    assert command[4:] == [*RUN, '--config.data.path=a "b"']


@pytest.mark.parametrize(
    ('script', 'arguments'),
    [
        ('local.sh', ()),
        ('gpu.sh', ()),
        ('tpu_vm.sh', ()),
        ('tpu_vm.sh', ('fly', 'x')),
        ('tpu_vm.sh', ('install', 'x')),
        ('supervise.sh', ()),
        ('slurm.sbatch', ()),
        ('gke.sh', ('a', 'b')),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(script, arguments):
    done = dry(script, *arguments, REPOSITORY='')
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ('environment', 'said'),
    [
        ({'CHIPS': '0'}, 'CHIPS is 0: write the number of chips of a host, like 4'),
        ({'CHIPS': 'abc'}, 'CHIPS is abc: write'),
        ({'CHIPS': '08'}, 'CHIPS is 08: write'),
        ({'CHIPS': '3'}, 'CHIPS is 3: the 16 chips of TOPOLOGY 4x4 are no whole number of such hosts'),
        ({'TOPOLOGY': '08x8'}, 'TOPOLOGY is 08x8: write it like 4x4'),
        ({'TOPOLOGY': '4x0'}, 'TOPOLOGY is 4x0: write it like 4x4'),
    ],
    ids=str,
)
def test_a_slice_that_cannot_be_is_one_line_and_exit_code_2(environment, said):
    done = dry('gke.sh', '--dry_run', 'run', 'image', *RUN, **environment)
    assert (done.returncode, done.stdout) == (2, '')
    assert done.stderr.startswith(f'launch/gke.sh: {said}')
    assert len(done.stderr.splitlines()) == 1


def test_slurm_s_script_is_at_home_where_it_lies_or_where_sbatch_was_called(tmp_path):
    assert dry('slurm.sbatch', '--dry_run', *RUN, SLURM_SUBMIT_DIR=str(tmp_path)).returncode == 0
    copy = str(shutil.copy(ROOT / 'launch' / 'slurm.sbatch', tmp_path / 'slurm_script'))  # as sbatch makes one
    assert dry(copy, '--dry_run', *RUN, SLURM_SUBMIT_DIR=str(ROOT)).returncode == 0
    lost = dry(copy, '--dry_run', *RUN, SLURM_SUBMIT_DIR=str(tmp_path))
    assert lost.returncode == 2
    assert lost.stderr == f'launch/slurm.sbatch: {tmp_path} is no checkout of addsr: call sbatch in it\n'


def test_a_name_of_digits_is_text_to_kubernetes():
    yaml = pytest.importorskip('yaml', reason='pip install pyyaml; ml_collections brings it')
    assert yaml.safe_load(dry('gke.sh', '--dry_run', '123', 'img', *RUN).stdout)['metadata']['name'] == '123'
