"""The guided filter against its equations window by window, and what the finish of a picture promises of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.ops.guided_filter import GRAIN_RADIUS, guided, guided_filter, without_grain
from addsr_jax.ops.image import wavelet

RNG = np.random.default_rng(0)
LUMA = np.float32([0.299, 0.587, 0.114])


def window(x, i, j, radius):
    """What of the window around (i, j) lies in the picture."""
    return x[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]


def filtered_by_the_equations(image, guide, radius, epsilon):
    """One channel in float64, He et al.'s algorithm as written: a line per window, then the mean of the lines."""
    places = list(np.ndindex(image.shape))
    slope, offset, out = (np.empty(image.shape) for _ in range(3))
    for i, j in places:
        p, g = window(image, i, j, radius), window(guide, i, j, radius)
        slope[i, j] = np.mean((p - p.mean()) * (g - g.mean())) / (g.var() + epsilon)
        offset[i, j] = p.mean() - slope[i, j] * g.mean()
    for i, j in places:
        out[i, j] = window(slope, i, j, radius).mean() * guide[i, j] + window(offset, i, j, radius).mean()
    return out


@pytest.mark.parametrize(('size', 'radius'), [((9, 13), 2), ((6, 5), 7)], ids=['windows_inside', 'windows_larger'])
def test_the_filter_is_the_paper_s_to_the_border(size, radius):
    image, guide = RNG.uniform(-1, 1, (*size, 2)), RNG.uniform(-1, 1, (*size, 1))
    out = guided_filter(jnp.float32(image), jnp.float32(guide), radius, 0.01)
    for channel in range(2):
        expected = filtered_by_the_equations(image[..., channel], guide[..., 0], radius, 0.01)
        np.testing.assert_allclose(out[..., channel], expected, atol=2e-6)


def test_what_follows_the_guide_stays_and_a_flat_guide_averages():
    guide = jnp.float32(RNG.uniform(-1, 1, (40, 30, 1)))
    line = jnp.concatenate([0.5 * guide + 0.1, 0.2 - guide], -1)
    np.testing.assert_allclose(guided_filter(line, guide, 4, 1e-8), line, atol=1e-5)
    noise = jnp.float32(RNG.normal(size=(40, 30, 1)))
    flat = guided_filter(noise, jnp.zeros_like(noise), 4, 1e-3)[8:-8, 8:-8]
    assert flat.std() < 1 / 9  # less than the mean of one window of 81


def test_where_the_input_is_grey_the_result_is_and_its_luma_is_that_of_the_wavelet_fix():
    tinted = jnp.float32(RNG.uniform(-1, 1, (48, 64, 3)))
    grey = jnp.repeat(jnp.float32(RNG.uniform(-1, 1, (48, 64, 1))), 3, axis=-1)
    out = guided(tinted, grey)
    np.testing.assert_allclose(out, jnp.repeat(out[..., :1], 3, axis=-1), atol=2e-5)
    np.testing.assert_allclose(out @ LUMA, wavelet(tinted, grey) @ LUMA, atol=1e-5)


def test_colours_of_a_blurred_input_end_at_the_edges_of_the_restored_picture():
    sharp = np.full((64, 64, 3), (0.4, -0.3, -0.6), np.float32)
    sharp[:, 32:] = (-0.2, 0.4, 0.8)
    ramp = np.clip((np.arange(64) - 26) / 12, 0, 1)[None, :, None].astype(np.float32)
    blurred = sharp[:, :1] * (1 - ramp) + sharp[:, -1:] * ramp
    grey = np.repeat((sharp @ LUMA)[..., None], 3, axis=-1)  # a restored picture without any colour
    near = np.s_[16:48, 28:36]
    before, after = (
        np.abs(x - sharp)[near].mean() for x in (np.broadcast_to(blurred, sharp.shape), guided(grey, blurred))
    )
    assert after < before / 2


@pytest.mark.parametrize('level', [-1.0, 0.0, 0.9])
def test_grain_as_strong_as_was_said_is_halved_and_colours_stay(level):
    image = level + RNG.normal(0, 2.5 / 127.5, (128, 128, 1)) + np.float32([0.05, 0, -0.05])
    out = np.asarray(without_grain(jnp.float32(image), 2.5))
    inside = np.s_[GRAIN_RADIUS:-GRAIN_RADIUS, GRAIN_RADIUS:-GRAIN_RADIUS]
    assert out[inside][..., 1].std() == pytest.approx(image[inside][..., 1].std() / 2, rel=0.03)
    np.testing.assert_allclose(out[..., 0] - out[..., 2], 0.1, atol=1e-6)


def test_edges_and_texture_stronger_than_grain_stay():
    step = np.zeros((64, 64, 3), np.float32)
    step[:, 32:] = 1
    np.testing.assert_allclose(without_grain(jnp.asarray(step), 2.5), step, atol=1 / 127.5)
    texture = jnp.float32(RNG.uniform(-0.5, 0.5, (64, 64, 1)).repeat(3, -1))
    assert np.std(without_grain(texture, 2.5)) > 0.99 * np.std(texture)
