"""All chance of the student's stage: how it is distributed, and that samples do not share it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from addsr_jax.diffusion.methods import STUDENT
from addsr_jax.stages.addsr_draws import draw
from tests import tiny
from tests.stages.common import empty_batch, objective

COUNT = 4096
FIELDS = ('posterior', 'first_noise', 'noise', 'teacher_noise')


def drawn(batch, seed: int = 3, **changes):
    return draw(jax.random.key(seed), tiny.SPEC, objective('addsr', **changes), batch)


@pytest.fixture(scope='module')
def many():
    return drawn(empty_batch(COUNT), teacher_samples=4)


def test_the_switches_of_chance_change_the_draws():
    base = drawn(tiny.batch(0, 8))
    assert 0 < int(base.one_step.sum()) < 8
    assert int(drawn(tiny.batch(0, 8), branch='per_batch').one_step.sum()) in (0, 8)
    assert float(jnp.abs(base.noise - base.first_noise).max()) > 0.1
    shared = drawn(tiny.batch(0, 8), noise='shared')
    for field in (shared.first_noise, *shared.teacher_noise.swapaxes(0, 1)):
        np.testing.assert_array_equal(field, shared.noise)
    assert drawn(tiny.batch(0, 8), teacher_samples=3).teacher_timesteps.shape == (8, 3)
    assert drawn(tiny.batch(0, 8), one_step_probability=1.0).one_step.all()


def test_timesteps_of_the_teacher_are_uniform_over_all_thousand(many):
    counts = np.bincount(np.asarray(many.teacher_timesteps).ravel(), minlength=1000)
    assert len(counts) == 1000  # none above 999
    assert counts.min() > 0  # 16.4 of each are expected
    tenths = counts.reshape(10, 100).sum(axis=1) / (COUNT * 4)
    np.testing.assert_allclose(tenths, 0.1, atol=0.012)  # five standard deviations


def test_every_step_of_the_chain_but_the_last_is_a_start_equally_often(many):
    counts = np.bincount(np.asarray(many.chain_start))
    assert len(counts) == 3
    np.testing.assert_allclose(counts / COUNT, 1 / 3, atol=0.037)
    longer = drawn(empty_batch(COUNT), timesteps=(999, 799, 599, 399, 199))
    assert np.bincount(np.asarray(longer.chain_start)).shape == (4,)


def test_the_chain_of_the_objective_is_the_students():
    assert objective('addsr').timesteps == STUDENT.timesteps(4, 1000)


def test_every_timestep_of_the_chain_is_trained(many):
    chain = np.asarray(objective('addsr').timesteps)
    s = np.where(many.one_step, chain[0], chain[np.asarray(many.chain_start) + 1])
    assert set(s.tolist()) == set(chain.tolist())


@pytest.mark.parametrize('probability', [0.0, 0.35, 0.5, 1.0])
def test_the_first_step_is_trained_as_often_as_is_asked(probability):
    each = drawn(empty_batch(COUNT), one_step_probability=probability).one_step
    assert float(each.mean()) == pytest.approx(probability, abs=0.04)
    keys = jax.random.split(jax.random.key(0), 2048)
    made = objective('addsr', one_step_probability=probability, branch='per_batch')
    of_batches = jax.jit(jax.vmap(lambda key: draw(key, tiny.SPEC, made, empty_batch(2)).one_step))(keys)
    assert (of_batches[:, 0] == of_batches[:, 1]).all()
    assert float(of_batches[:, 0].mean()) == pytest.approx(probability, abs=0.055)


def test_two_neighbours_share_a_coin_as_the_images_of_a_published_process_do():
    """Its numbers depend on the pair alone: not on the batch around it, nor on how many devices hold that."""
    pairs = np.asarray(drawn(empty_batch(COUNT), branch='per_pair').one_step).reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()
    assert pairs[:, 0].mean() == pytest.approx(objective('addsr').one_step_probability, abs=0.055)
    assert abs(np.corrcoef(pairs[:-1, 0], pairs[1:, 0])[0, 1]) < 0.12  # five standard deviations
    for size in (1, 5, 8):
        few = drawn(empty_batch(size), branch='per_pair').one_step
        np.testing.assert_array_equal(few, pairs.ravel()[:size])


def test_a_start_and_a_timestep_say_nothing_about_the_branch(many):
    for value in (many.chain_start, *many.teacher_timesteps.T):
        both = np.corrcoef(np.asarray(many.one_step, np.float64), np.asarray(value))
        assert abs(both[0, 1]) < 0.08  # five standard deviations


def test_noise_is_standard_normal_and_every_field_its_own(many):
    fields = [np.asarray(getattr(many, name)).reshape(COUNT, -1)[:, :16].ravel() for name in FIELDS]
    fields.append(np.asarray(many.teacher_noise[:, 1]).ravel()[: len(fields[0])])
    for field in fields:
        assert abs(field.mean()) < 0.02
        assert field.std() == pytest.approx(1, abs=0.015)
    correlations = np.corrcoef(fields) - np.eye(len(fields))
    assert np.abs(correlations).max() < 0.02


def test_samples_draw_the_same_whatever_the_batch_around_them():
    few, all_ = (drawn(empty_batch(n, 32)) for n in (2, 8))
    for field in dataclasses.fields(few):
        for a, b in zip(*(jax.tree.leaves(getattr(d, field.name)) for d in (few, all_)), strict=True):
            np.testing.assert_array_equal(a, b[:2], err_msg=field.name)


def test_samples_of_one_batch_draw_differently(many):
    for name in FIELDS:
        first = np.asarray(getattr(many, name)).reshape(COUNT, -1)[:, 0]
        assert len(np.unique(first)) > 0.99 * COUNT, name
    assert len(np.unique(np.asarray(many.augment_real.shift), axis=0)) > 1


def test_the_three_looks_of_the_discriminator_are_augmented_differently():
    made = drawn(empty_batch(64, 32))
    looks = (made.augment_real, made.augment_fake, made.augment_student)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert (looks[i].shift != looks[j].shift).any()
        assert looks[i].crop[0] != looks[j].crop[0]
