"""The guided filter against its equations window by window, and what the finish of a picture promises of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.ops.guided_filter import GRAIN_RADIUS, guided, guided_filter, without_grain
from addsr_jax.ops.image import low_frequencies, wavelet

RNG = np.random.default_rng(0)
LUMA = np.float32([0.299, 0.587, 0.114])


def window(x, i, j, radius):
    """What of the window around (i, j) lies in the picture."""
    return x[max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]


def filtered_by_the_equations(image, guide, drawn, radius, epsilon):
    """One channel in float64, the paper's algorithm as written: a linear function per window, then their mean."""
    (height, width), channels = image.shape, guide.shape[-1]
    slope, offset, out = np.empty(guide.shape), np.empty(image.shape), np.empty(image.shape)
    for i, j in np.ndindex(height, width):
        p, g = window(image, i, j, radius).ravel(), window(guide, i, j, radius).reshape(-1, channels)
        away = g - g.mean(0)
        covariance = away.T @ away / len(p) + epsilon * np.eye(channels)
        slope[i, j] = np.linalg.solve(covariance, away.T @ (p - p.mean()) / len(p))
        offset[i, j] = p.mean() - slope[i, j] @ g.mean(0)
    for i, j in np.ndindex(height, width):
        means = window(slope, i, j, radius).mean(axis=(0, 1)), window(offset, i, j, radius).mean()
        out[i, j] = means[0] @ drawn[i, j] + means[1]
    return out


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(('size', 'radius'), [((9, 13), 2), ((6, 5), 7)], ids=['windows_inside', 'windows_larger'])
def test_the_filter_is_the_paper_s_to_the_border(size, radius, channels):
    image, guide, drawn = (RNG.uniform(-1, 1, (*size, n)) for n in (2, channels, channels))
    small = [jnp.float32(x) for x in (image, guide)]
    for along, out in (
        (guide, guided_filter(*small, radius, 0.01)),
        (drawn, guided_filter(*small, radius, 0.01, drawn=jnp.float32(drawn))),
    ):
        for channel in range(2):
            expected = filtered_by_the_equations(image[..., channel], guide, along, radius, 0.01)
            np.testing.assert_allclose(out[..., channel], expected, atol=5e-6)


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


def test_a_small_thing_keeps_the_colour_that_the_blurred_input_washed_out():
    sharp = np.full((64, 64, 3), (-0.6, -0.6, -0.5), np.float32)
    sharp[:, 28:36] = (0.7, -0.4, -0.5)  # a red bar, two pixels wide before it was enlarged
    blurred = np.asarray(low_frequencies(jnp.asarray(sharp), 3))
    bar = np.s_[16:48, 30:34, 0]
    out = np.asarray(guided(jnp.asarray(sharp), jnp.asarray(blurred)))
    assert blurred[bar].mean() < 0.4
    assert out[bar].mean() > 0.55


def test_luma_that_repeats_every_two_or_four_pixels_leaves_chroma_alone():
    rows, columns = np.mgrid[:64, :64]
    edge = np.where(columns < 32, -0.4, 0.4)
    lattice = 0.1 * (np.cos(np.pi / 2 * rows) + np.cos(np.pi * columns))
    plain, with_lattice = (jnp.float32(x)[..., None].repeat(3, -1) for x in (edge, edge + lattice))
    reference = jnp.float32(edge[..., None] * np.float32([1, 0.2, -0.5]))
    inside = np.s_[28:-28, 28:-28]  # borders break the repetition
    chroma = [
        np.asarray(x - (x @ LUMA)[..., None])[inside] for x in (guided(p, reference) for p in (plain, with_lattice))
    ]
    np.testing.assert_allclose(chroma[1], chroma[0], atol=3e-3)
    assert np.abs(guided(with_lattice, reference) - guided(plain, reference)).max() > 0.05  # luma keeps it


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
