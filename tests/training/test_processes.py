"""One run by several processes: what one process gets, through a kill, a resume by another number, and the export."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from addsr_jax import processes, sharding, trees
from addsr_jax.errors import Momentary, UserError
from addsr_jax.weights import bundle as bundles
from tests import tiny

ROOT = Path(__file__).parents[2]
STEPS = 20  # so many that a signal comes before the last


class Run:
    """Processes that train together in one workdir, over two devices or more."""

    def __init__(self, workdir, weights, processes=1, devices=1, mesh='fsdp:2', steps=STEPS, **changes):
        self.workdir, self.children, self.logs = workdir, [], []
        values = {
            'weights': weights, 'steps': steps, 'batch_size': 4, 'log_every': 1, 'checkpoint_every': 4, 'mesh': mesh,
            'data.hr_size': 80, 'data.source': 'sample_photos', 'eval_every': 0, 'preview_every': 0, **changes,
        }  # fmt: skip
        command = ['-m', 'tests.training.worker', '--config', f'{ROOT}/configs/autoencoder.py:nano']
        command += ['--workdir', str(workdir), *(f'--config.{key}={value}' for key, value in values.items())]
        port = free_port()
        for i in range(processes):
            others = ['--coordinator', f'localhost:{port}', '--processes', str(processes), '--process', str(i)]
            log = workdir.with_name(f'{workdir.name}-{len(os.listdir(workdir.parent))}-{i}.log')
            self.logs.append(log)
            with log.open('w') as file:
                self.children.append(
                    subprocess.Popen(
                        [sys.executable, *command, *(others if processes > 1 else [])],
                        env=environment(devices), cwd=ROOT, stdout=file, stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def end(self, seconds=300) -> list[int]:
        """Exit codes; what still runs after `seconds` is killed and told."""
        until = time.monotonic() + seconds
        try:
            return [child.wait(max(until - time.monotonic(), 0.1)) for child in self.children]
        finally:
            for child in self.children:
                child.kill()

    def told(self, process=0) -> str:
        return self.logs[process].read_text(errors='replace')

    def until(self, sign: str, seconds=300) -> None:
        """Waits for process 0 to say it."""
        until = time.monotonic() + seconds
        while sign not in self.told():
            assert time.monotonic() < until, self.told()[-2000:]
            assert self.children[0].poll() is None, self.told()[-2000:]
            time.sleep(0.05)


def environment(devices):
    kept = [flag for flag in os.environ['XLA_FLAGS'].split() if 'device_count' not in flag]
    flags = ' '.join([*kept, f'--xla_force_host_platform_device_count={devices}'])
    return {**os.environ, 'XLA_FLAGS': flags, 'JAX_DEFAULT_MATMUL_PRECISION': 'highest', 'PYTHONPATH': str(ROOT)}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(('localhost', 0))
        return found.getsockname()[1]


def same(final, wanted):
    """Parameters of two runs to the noise of sums in another order, and their optimisers' steps."""
    a, b = (trees.flatten(bundles.load(run.workdir / 'final').params['autoencoder']) for run in (final, wanted))
    for path in b:
        np.testing.assert_allclose(a[path], b[path], rtol=1e-3, atol=2e-5, err_msg=str(path))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Without an autoencoder of its own, the stage would start from nothing; here it goes on from random numbers."""
    folder = tmp_path_factory.mktemp('weights') / 'tiny'
    bundles.save(
        dataclasses.replace(tiny.bundle(), spec=dataclasses.replace(tiny.SPEC, name='nano')), folder, 'safetensors'
    )
    return folder


@pytest.fixture(scope='module')
def alone(tmp_path_factory, weights):
    """One process, one device: nothing is divided."""
    run = Run(tmp_path_factory.mktemp('alone') / 'run', weights, mesh='data:1')
    assert run.end() == [0], run.told()[-3000:]
    return run


def test_sigterm_to_one_of_two_ends_both_at_one_step_and_two_go_on_to_the_parameters_of_one(tmp_path, weights, alone):
    run = Run(tmp_path / 'run', weights, processes=2)
    run.until('step 3/')
    run.children[1].send_signal(signal.SIGTERM)
    assert run.end() == [75, 75], run.told()[-3000:]
    assert 'checkpoint written: run the same command to go on' in run.told()
    assert not (run.workdir / 'final').exists()
    after = Run(run.workdir, weights, processes=2)
    assert after.end() == [0, 0], after.told()[-3000:]
    same(after, alone)
    assert f'step {STEPS}/' in after.told(0)
    assert 'step' not in after.told(1), 'only process 0 prints'


@pytest.mark.torch
def test_four_processes_end_with_the_parameters_of_one(tmp_path, weights, alone):
    run = Run(tmp_path / 'run', weights, processes=4, mesh='data:2,fsdp:2')
    assert run.end() == [0] * 4, run.told()[-3000:]
    same(run, alone)


@pytest.mark.torch
@pytest.mark.parametrize(('processes', 'mesh', 'then'), [(2, 'fsdp:2', 1), (4, 'data:2,fsdp:2', 2)])
def test_a_killed_process_ends_the_others_within_a_minute_and_fewer_go_on(
    tmp_path, weights, alone, processes, mesh, then
):
    run = Run(tmp_path / 'run', weights, processes=processes, mesh=mesh)
    run.until('step 6/')
    run.children[-1].send_signal(signal.SIGKILL)
    assert 0 not in run.end(60)
    assert not (run.workdir / 'final').exists()
    after = Run(run.workdir, weights, processes=then, devices=2, mesh=mesh)
    assert after.end() == [0] * then, after.told()[-3000:]
    assert 'resuming at step' in after.told()
    same(after, alone)


def test_the_exit_code_of_one_of_several_is_that_of_what_ended_it(monkeypatch):
    codes = []
    monkeypatch.setattr(processes, 'several', lambda: True)
    monkeypatch.setattr(processes.os, '_exit', codes.append)
    for error in (Momentary('no answer'), UserError('a mistake'), ValueError('a fault')):
        with processes.ending_together():
            raise error
    assert codes == [1, 2, 1]


def test_these_meshes_really_split_the_state(monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 2)
    mesh = sharding.make_mesh('data:2,fsdp:2', jax.devices()[:4])
    shapes = jax.eval_shape(lambda: tiny.bundle().params['autoencoder'])
    split = [s for s in jax.tree.leaves(sharding.state_shardings(mesh, shapes)) if not s.is_fully_replicated]
    assert len(split) > 0.9 * len(jax.tree.leaves(shapes))
