"""Chance of a step: what is drawn, how often, and that a sample's numbers do not know the batch around it."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.diffusion.methods import STUDENT
from addsr_jax.stages.addsr_draws import draw
from tests import tiny
from tests.stages.common import objective

COUNT = 4000  # samples of 8 x 8 pixels
DEVIATIONS = 5  # of a binomial count, and more


@cache
def drawn(count: int = COUNT, **changes):
    made = objective('addsr', **{'teacher_samples': 1, **changes})
    batch = {'hr': jnp.zeros((count, 8, 8, 3))}
    return jax.jit(lambda key: draw(key, tiny.SPEC, made, batch))(jax.random.key(7))


def assert_uniform(values, bins):
    """Every bin has its share of all draws, to five deviations of a binomial count."""
    counts = np.bincount(np.ravel(values), minlength=bins)
    assert len(counts) == bins
    share, total = 1 / bins, counts.sum()
    assert np.abs(counts - total * share).max() < DEVIATIONS * np.sqrt(total * share * (1 - share)), counts


def test_the_teacher_is_asked_at_every_timestep_alike():
    times = np.asarray(drawn().teacher_timesteps)
    assert times.min() >= 0
    assert times.max() <= 999
    assert_uniform(times // 100, 10)
    assert np.asarray(drawn(teacher_samples=3).teacher_timesteps).shape == (COUNT, 3)


def test_the_second_step_is_trained_at_every_timestep_after_the_first_the_last_included():
    starts = np.asarray(drawn().chain_start)
    assert_uniform(starts, len(objective('addsr').timesteps) - 1)


@pytest.mark.parametrize('chance', [0.0, 0.35, 1.0])
def test_one_step_is_trained_as_often_as_the_objective_says(chance):
    share = float(np.asarray(drawn(one_step_probability=chance).one_step).mean())
    assert abs(share - chance) <= DEVIATIONS * np.sqrt(chance * (1 - chance) / COUNT)


@pytest.mark.parametrize('name', ['noise', 'first_noise', 'posterior', 'teacher_noise'])
def test_noise_is_of_unit_variance(name):
    field = np.asarray(getattr(drawn(), name))
    assert abs(field.mean()) < DEVIATIONS / np.sqrt(field.size)
    assert abs(field.var() - 1) < DEVIATIONS * np.sqrt(2 / field.size)


def test_streams_of_chance_are_independent():
    d = drawn()
    columns = [np.ravel(d.noise), np.ravel(d.first_noise), np.ravel(d.posterior), np.ravel(d.teacher_noise)]
    correlations = np.corrcoef(columns)[np.triu_indices(4, 1)]
    assert np.abs(correlations).max() < DEVIATIONS / np.sqrt(len(columns[0]))
    assert abs(np.corrcoef(d.chain_start, d.one_step)[0, 1]) < DEVIATIONS / np.sqrt(COUNT)


def test_a_sample_gets_the_same_numbers_whatever_the_batch_it_stands_in():
    few, many = drawn(16), drawn()
    for name in ('one_step', 'chain_start', 'posterior', 'noise', 'first_noise', 'teacher_timesteps', 'teacher_noise'):
        np.testing.assert_array_equal(getattr(few, name), getattr(many, name)[:16], err_msg=name)


def test_the_chain_of_the_objective_is_the_students():
    assert objective('addsr').timesteps == STUDENT.timesteps(4, 1000)
