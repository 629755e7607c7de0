"""Texture that a picture has beyond its original's, against closed forms and numpy's transform."""

import jax
import numpy as np
import pytest

from addsr_jax.ops import spectrum
from addsr_jax.ops.ycbcr import TO_YCBCR

NOISE = np.random.default_rng(0).normal(0, 0.3, (2, 48, 64, 3)).astype(np.float32)
PLAIN = np.zeros_like(NOISE)


def test_twice_the_texture_is_the_logarithm_of_four_beyond_chance_and_half_of_it_is_nothing():
    np.testing.assert_allclose(spectrum.excess(2 * NOISE, NOISE), np.log(4) - spectrum.CHANCE, rtol=0.01)
    np.testing.assert_array_equal(spectrum.excess(NOISE, NOISE), 0)
    np.testing.assert_array_equal(spectrum.excess(NOISE / 2, NOISE), 0)
    np.testing.assert_array_equal(spectrum.excess(PLAIN, NOISE), 0)


def test_a_weave_on_a_plain_wall_counts_and_brightness_chroma_and_what_no_eye_sees_do_not():
    wave = np.sin(2 * np.pi * np.arange(64) / 4.7).astype(np.float32)[:, None]
    assert (np.asarray(spectrum.excess(PLAIN + 0.05 * wave, PLAIN)) > 0.1).all()
    assert (np.asarray(spectrum.excess(PLAIN + 0.0005 * wave, PLAIN)) < 0.01).all()
    np.testing.assert_array_equal(spectrum.excess(PLAIN + 0.5, PLAIN), 0)
    chroma = NOISE - (NOISE @ TO_YCBCR[0])[..., None]
    np.testing.assert_allclose(spectrum.excess(chroma, PLAIN), 0, atol=1e-3)


def test_spectra_are_those_of_numpy_of_every_window():
    found = np.asarray(spectrum.log_spectra(NOISE))
    assert found.shape == (2, 2 * 3, 30, 15)
    weights = np.outer(*[np.hanning(34)[1:-1]] * 2)
    window = (NOISE[1] @ TO_YCBCR[0])[16:48, 32:64].astype(np.float64)
    power = np.abs(np.fft.rfft2((window - window.mean()) * weights)) ** 2 / (weights**2).sum()
    wanted = np.log(power[4:7, 8:11].mean() + spectrum.FLOOR**2)
    assert found[1, 5, 4, 8] == pytest.approx(wanted, rel=1e-4)


def test_the_gradient_takes_a_weave_away():
    rows = np.arange(48, dtype=np.float32)[:, None, None]
    woven = PLAIN + 0.05 * np.sin(2 * np.pi * rows / 4.7)
    gradient = jax.grad(lambda x: spectrum.excess(x, PLAIN).sum())(woven)
    assert np.isfinite(gradient).all()
    assert float((gradient * woven).sum()) > 0
    assert np.isfinite(jax.grad(lambda x: spectrum.excess(x, PLAIN).sum())(PLAIN)).all()
