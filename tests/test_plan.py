"""addsr plan: what it says of a program, and what it refuses."""

import dataclasses
import json
from unittest import mock

import jax
import pytest

from addsr_jax import installation, plan, sharding, trees
from addsr_jax.errors import UserError, guard
from addsr_jax.planning import estimate as planning_estimate
from addsr_jax.planning import hardware, programs
from addsr_jax.planning.estimate import Plan, TooLarge, estimate
from addsr_jax.training import config as config_file
from addsr_jax.training import job
from tests import tiny

SMALL = ('--config', 'configs/autoencoder.py:nano', '--config.batch_size=8', '--config.data.hr_size=80')


size = tiny.standing_for_nano(tiny.SPEC)


def test_a_train_step_is_planned_for_the_devices_of_this_machine(tmp_path, capsys):
    assert guard(plan.main, [*SMALL, '--json', str(tmp_path / 'plan.json')]) == 0
    said, told = capsys.readouterr().out, json.loads((tmp_path / 'plan.json').read_text())
    assert 'train step of stage autoencoder, size nano on 8 x cpu: 8 devices, mesh data:8, remat none, batch 8' in said
    assert told['peak_bytes_per_device'] > told['memory']['arguments'] > 0
    assert told['arguments']['batch'] == 2 * 80 * 80 * 3 * 4 + 77 * 4
    assert sum(told['arguments'].values()) == told['memory']['arguments'] + told['memory']['unused']
    assert told['memory']['unused'] > 80 * 80 * 3 * 4, 'this stage does not look at the LQ image'
    assert set(told['collectives']) == {'all-reduce'}
    trained = trees.bytes_of(tiny.bundle().params['autoencoder'])
    assert told['collectives']['all-reduce'] == pytest.approx(trained, rel=0.2)
    assert told['flops'] > 0
    assert told['seconds_at_peak'] is None, 'nobody says what a CPU can compute'


def test_a_sampler_is_planned(capsys):
    assert guard(plan.main, ['--sample', 'addsr-1', '--size', 'nano', '--side', '64']) == 0
    assert 'addsr-1, size nano, 64 pixels on 8 x cpu' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--topology', 'v5e:3x3'], 'choose one of v5e:1x1, v5e:2x2'),
        (['--topology', 'v5e-16'], 'choose one of v5e:'),
        (['--topology', 'v5p:2x2'], 'choose one of v5p:2x2x1'),
        ([*SMALL, '--config.batch_size=9'], 'make it a multiple of 8'),
        ([*SMALL, '--config.mesh=data:3'], "write 'data:-1'"),
        ([*SMALL, '--json', 'nowhere/at/all.json'], 'there is no folder'),
        (['--sample', 'bicubic'], 'runs no network'),
        (['--sample', 'addsr-1', '--config.steps=3'], 'leave out --sample'),
        (['--sample', 'addsr-1', '--search'], 'leave out --sample'),
        (['--sample', 'addsr-1', '--config', 'configs/addsr.py'], '--config is of a training run: leave out --sample'),
        (['--size', 'nano'], '--size is of a sampler: give --sample METHOD-STEPS, or leave it out'),
        ([*SMALL, '--size', 'sd2'], '--size is of a sampler'),
        ([*SMALL, '--side', '64'], '--side is of a sampler'),
        ([*SMALL, '--batch', '1'], '--batch is of a sampler'),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_line_with_what_works(arguments, said, capsys):
    assert guard(plan.main, arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count('\n') == 1


@pytest.mark.parametrize(
    ('arguments', 'advice'),
    [
        (['--sample', 'addsr-1', '--size', 'nano', '--side', '64'], 'a smaller --side, or a larger device, may do'),
        (
            ['--sample', 'addsr-1', '--size', 'nano', '--side', '64', '--batch', '2'],
            'a smaller --batch or --side, or a larger device, may do',
        ),
        (
            [*SMALL, '--config.remat=none'],
            '--config.remat=full, --config.mesh=fsdp:-1 or a smaller --config.batch_size may do',
        ),
        ([*SMALL, '--config.remat=full'], 'a smaller --config.batch_size may do'),
    ],
    ids=['a tile', 'tiles', 'a step', 'a step that keeps nothing'],
)
@pytest.mark.parametrize('compiled', [True, False])
def test_what_is_too_large_is_refused_with_what_the_same_command_takes(arguments, advice, compiled, capsys):
    def estimated(program, machine):
        if compiled:
            return dataclasses.replace(
                PLAN, program=program.name, remat=program.remat, peak_bytes_per_device=16 * 10**9
            )
        raise TooLarge(f'{program.name} does not fit')

    with mock.patch.object(planning_estimate, 'estimate', estimated):
        assert guard(plan.main, arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f': {advice}')


def test_without_libtpu_a_slice_is_refused_with_the_command_that_brings_it():
    with (
        mock.patch.object(hardware.importlib.util, 'find_spec', return_value=None),
        mock.patch.object(installation, 'origin', return_value=('', {})),  # as if pip had been given the package's name
        pytest.raises(UserError, match=r"pip install 'addsr-jax\[plan\]'"),
    ):
        hardware.machine('v5e:2x4')


@pytest.mark.torch  # `make test-parity` brings libtpu
@pytest.mark.parametrize('stage', ['autoencoder', 'seesr', 'addsr'])
def test_a_split_step_for_a_tpu_gathers_and_sums_and_moves_nothing_else(stage, monkeypatch):
    monkeypatch.setattr(sharding, 'SMALL', 64)
    changes = [('mesh', 'fsdp:-1'), ('batch_size', '8'), ('data.hr_size', '80')]
    machine = hardware.machine('v5e:2x4')
    options = config_file.train_options(f'configs/{stage}.py:nano', [*changes, ('remat', 'none'), ('weights', '')])
    told = estimate(programs.train_step(options, machine), machine)
    _, shapes = job.abstract_step(*job.abstract_start(options), sharding.make_mesh('fsdp:-1', machine.devices))
    split = sum(not place.is_fully_replicated for place in jax.tree.leaves(shapes.shardings.params))
    assert set(told.collectives) == {'all-gather', 'all-reduce'}
    assert told.collective_counts['all-gather'] >= split > 20
    assert told.fits
    assert told.seconds_at_40_percent == pytest.approx(told.flops / (0.4 * 8 * 197e12))


@pytest.mark.torch
def test_what_a_tpu_cannot_hold_is_said_with_what_there_is(capsys):
    arguments = ['--config', 'configs/autoencoder.py:nano', '--topology', 'v5e:1x1', '--config.data.hr_size=4096']
    arguments += ['--config.batch_size=64', '--config.remat=none', '--config.mesh=data:-1']
    assert guard(plan.main, arguments) == 2
    assert 'there are 16.9' in capsys.readouterr().err
    assert jax.devices()[0].platform == 'cpu', 'nothing here is a TPU'


def test_a_search_goes_on_with_the_cheapest_layout_that_fits_a_growing_batch_and_recommends_the_quickest(
    tmp_path, capsys
):
    tried = []

    def estimated(options, machine):
        """Memory grows with the images, less with more remat; speed grows with the images, less with remat."""
        images = options.batch_size // len(machine.devices)
        factor = {'none': 3, 'blocks': 2, 'full': 1}[options.remat] + ('data' in options.mesh)
        tried.append((options.mesh, options.remat, images))
        if images * factor > 16:
            raise TooLarge('too large')
        speed = images * (3 + factor)
        return dataclasses.replace(
            PLAN, mesh={options.mesh[:4]: 8}, remat=options.remat, batch_size=options.batch_size,
            peak_bytes_per_device=images * factor * 10**9, images_per_second_at_40_percent=speed,
        )  # fmt: skip

    with (
        mock.patch.object(programs, 'train_step', lambda options, machine: options),
        mock.patch.object(planning_estimate, 'estimate', estimated),
    ):
        assert guard(plan.main, [*SMALL, '--search', '--json', str(tmp_path / 'plan.json')]) == 0
    assert tried[:3] == [('data:-1', 'none', images) for images in (1, 2, 4)], 'four images need 16 of 16 GB: no more'
    assert tried[3:5] == [('fsdp:-1', 'none', images) for images in (4, 8)]
    assert [layout[:2] for layout in tried[5:]] == [
        (f'{axis}:-1', remat) for remat in ('blocks', 'full') for axis in ('data', 'fsdp')
    ]
    assert {layout[2] for layout in tried[5:]} == {8}, 'what fewer images fitted is not tried with more recomputed'
    said = capsys.readouterr().out
    assert 'recommended: mesh fsdp:8, remat full, batch 64' in said
    assert 'mesh data:8, remat blocks, batch 64: too large' in said
    told = json.loads((tmp_path / 'plan.json').read_text())
    assert told['remat'] == 'full'
    assert len(told['tried']) == len(tried) - 2, 'all but those that the compiler refused'


PLAN = Plan(
    program='train step', topology='x', devices=8, mesh={}, batch_size=8, images_per_device=1, remat='none',
    available_bytes=16 * 10**9, peak_bytes_per_device=0, memory={}, arguments={}, unsplit={}, flops=1, collectives={},
    collective_counts={}, seconds_at_peak=1, seconds_at_40_percent=1, images_per_second_at_40_percent=1,
    days_at_40_percent=1, trace_seconds=1, compile_seconds=1, versions={},
)  # fmt: skip
