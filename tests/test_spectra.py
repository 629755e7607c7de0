"""The diagnosis of textures finds the wave that is there, and the prices of switches name them as one types them."""

import numpy as np

from addsr_jax.options import from_data
from addsr_jax.restoration.settings import Settings
from benchmarks import spectra, switches


def test_a_weave_stands_out_at_its_own_period_and_direction():
    rng = np.random.default_rng(0)
    photograph = rng.integers(100, 140, (128, 160, 1)).repeat(3, axis=2).astype(np.uint8)
    across = np.rint(20 * np.sin(2 * np.pi * np.arange(160) * 14 / spectra.SIDE))[:, None]
    ratio = np.exp(spectra.log_power((photograph + across).astype(np.uint8)) - spectra.log_power(photograph))
    assert np.unravel_index(ratio.argmax(), ratio.shape) == (0, 14)
    assert ratio[0, 14] > 20
    assert 0.5 < ratio[14, 0] < 2
    brighter = spectra.log_power(photograph + np.uint8(50))
    np.testing.assert_allclose(brighter, spectra.log_power(photograph), atol=1e-4)


def test_every_way_of_a_switch_is_a_setting_and_named_as_one_types_it():
    for ways in switches.SWITCHES.values():
        for changes in ways:
            from_data(Settings, {**changes, 'steps': 4}, '')
    assert switches.described(1, {}) == '1 step'
    assert switches.described(4, {'int8': True}) == '4 steps `--int8`'
    assert switches.described(4, {'plain': 1.5}) == '4 steps `--plain 1.5`'
