"""The twins in torch that `benchmarks/compare_torch.py` times do our work, in every form that it times."""

import dataclasses

import jax
import numpy as np
import pytest

from addsr_jax import sharding, sizes
from tests import tiny

pytestmark = [pytest.mark.parity, pytest.mark.torch]
# SD-2's kind of networks, with norms, attention in the autoencoder and noise as the answer
SMALL = dataclasses.replace(
    tiny.SPEC,
    autoencoder=dataclasses.replace(sizes.SD2.autoencoder, block_out_channels=(8, 16, 16), norm_groups=4),
    unet=dataclasses.replace(tiny.SPEC.unet, in_channels=4, heads=(1, 2)),
    controlnet=dataclasses.replace(
        tiny.SPEC.controlnet, unet=dataclasses.replace(tiny.SPEC.unet, in_channels=4, heads=(1, 2))
    ),
    schedule=sizes.SD2.schedule,
)


@pytest.fixture
def setting():
    from benchmarks.compare_torch_cases import Setting

    mesh = sharding.make_mesh('data:1', jax.devices()[:1])
    return Setting(mesh, sharding.compute_dtype(mesh), compiles=False)


@pytest.mark.parametrize('spec', [tiny.SPEC, SMALL], ids=['nano', 'sd2'])
def test_networks_and_sampler_answer_alike(setting, spec, monkeypatch):
    from benchmarks import compare_torch_cases
    from benchmarks.side_by_side import measured

    monkeypatch.setitem(sizes.MODELS, 'small', spec)
    params = compare_torch_cases.random_model(spec, setting.dtype)
    cases = [
        *compare_torch_cases.of_size(setting, 'small', 64),
        compare_torch_cases.autoencoder(setting, spec, params, 64),
        compare_torch_cases.whole_sampler(setting, spec, params, 64),
    ]
    rows = [row for case in cases for row in measured(case, 1e-4, 1)]
    assert {row.form for row in rows} == {'eager', 'channels_last'}
    assert len(rows) == 14


def test_the_train_step_has_our_loss_and_gradient(setting):
    from benchmarks.compare_torch_step import train_step

    case = train_step(setting)
    np.testing.assert_allclose(case.theirs['eager'](), case.ours(), rtol=1e-4)
