"""The mesh and the remat that a run takes by itself."""

from types import SimpleNamespace

import jax
import pytest

from addsr_jax import sharding
from addsr_jax.errors import UserError
from addsr_jax.training import config as config_file
from addsr_jax.training import fit, job

GB = 10**9
SIZES = fit.Sizes(state=6_280_000_000, trained=770_000_000, frozen=4_590_000_000)  # configs/addsr.py


def described(kind: str, count: int):
    return [SimpleNamespace(device_kind=kind, platform='tpu') for _ in range(count)]


def options(**changes):
    return config_file.train_options('configs/addsr.py', [(key, str(value)) for key, value in changes.items()])


def settled(kind: str, count: int, **changes) -> tuple[str, str]:
    found = fit.settled(options(**changes), described(kind, count), lambda *_: SIZES)
    return found.mesh, found.remat


def test_devices_that_say_no_memory_hold_everything_whole_and_are_asked_no_sizes():
    def never(*_):
        raise AssertionError

    found = fit.settled(options(), jax.devices(), never)
    assert (found.mesh, found.remat) == ('data:-1', 'none')


def test_the_cheapest_layout_that_fits_is_taken():
    assert settled('TPU v5', 8) == ('data:-1', 'none')  # 95 GB: nothing needs to be split
    assert settled('TPU v5 lite', 16)[0] in ('data:-1', 'fsdp:-1')
    assert settled('TPU v5 lite', 16, batch_size=64) == ('fsdp:-1', 'blocks')
    wanted = options(batch_size=64)
    needed = [fit.needed(wanted, SIZES, layout, 16) for layout in fit.layouts(wanted, 16)]
    assert len(needed) == 6
    assert needed[::2] == sorted(needed[::2], reverse=True), 'whole'
    assert needed[1::2] == sorted(needed[1::2], reverse=True), 'split'
    assert all(whole > split for whole, split in zip(needed[::2], needed[1::2], strict=True))


def test_a_mesh_that_is_asked_for_is_reckoned_with():
    halves, eighths = (fit.needed(options(), SIZES, (mesh, 'none'), 16) for mesh in ('data:8,fsdp:2', 'data:2,fsdp:8'))
    assert halves - eighths == pytest.approx((SIZES.state + SIZES.frozen) * (1 / 2 - 1 / 8))


def test_devices_that_say_no_memory_stay_whole_whatever_is_recomputed():
    found = fit.settled(options(remat='blocks'), jax.devices(), lambda *_: SIZES)
    assert (found.mesh, found.remat) == ('data:-1', 'blocks')


def test_what_the_config_says_is_kept():
    assert settled('TPU v5', 8, mesh='data:2,fsdp:4', remat='none') == ('data:2,fsdp:4', 'none')
    assert settled('TPU v5', 8, remat='full') == ('data:-1', 'full')
    assert settled('TPU v5', 8, mesh='fsdp:8')[0] == 'fsdp:8'


def test_what_does_not_fit_is_refused_with_the_batch_that_does():
    with pytest.raises(UserError, match=r'on each of 16 devices, which have 16\.9: --config\.batch_size=144 fits'):
        settled('TPU v5 lite', 16, batch_size=16 * 16)
    assert settled('TPU v5 lite', 16, batch_size=144) == ('fsdp:-1', 'full')
    with pytest.raises(UserError, match='more devices are needed'):
        settled('TPU v5 lite', 1, batch_size=1, **{'data.hr_size': 1024})


def test_sizes_are_those_of_the_trees():
    small = config_file.train_options('configs/addsr.py:nano', [])
    small, start = job.abstract_start(small)
    sizes = job.step_sizes(start, small, jax.devices())
    _, shapes = job.abstract_step(small, start, sharding.make_mesh('data:1', jax.devices()[:1]))
    leaves = jax.tree.leaves(shapes.state.params)
    assert sizes.trained == sum(leaf.size for leaf in leaves) * 4
    assert sizes.state > 4 * sizes.trained  # average, two moments, and the discriminator
    assert sizes.frozen == sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes.frozen))


def test_one_device_has_nothing_to_split():
    assert [layout[0] for layout in fit.layouts(options(), 1)] == ['data:-1'] * 3
    assert [layout[0] for layout in fit.layouts(options(), 2)] == ['data:-1', 'fsdp:-1'] * 3
    assert {layout[0] for layout in fit.layouts(options(mesh='fsdp:-1'), 1)} == {'fsdp:-1'}
