"""The degradation: drawn within its table, finite, reproducible, and a quarter of the size."""

import dataclasses

import numpy as np
import pytest

from addsr_jax.data import captions, held_out, kernels, sources
from addsr_jax.data.batches import degrade_image
from addsr_jax.data.degradation import KERNEL, degrade, draw_degradation, sharpen
from addsr_jax.data.degradation_tables import TABLES
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.weights.bundle import NANO
from tests.data import photos


@pytest.mark.parametrize('name', TABLES)
def test_every_draw_lies_in_its_table(name):
    table, rng = dataclasses.replace(TABLES[name], share=0.0), np.random.default_rng(0)
    for _ in range(300):
        draws = draw_degradation(rng, table)
        for stage, limits in zip(draws.stages, table.stages, strict=True):
            low, high = limits.factor
            assert low <= stage.factor <= high
            assert limits.quality[0] <= stage.quality <= limits.quality[1]
            allowed = limits.sigma_noise if stage.gaussian else limits.poisson_scale
            assert allowed[0] <= stage.strength <= allowed[1]
            if stage.kernel is not None:
                assert stage.kernel.shape == (KERNEL, KERNEL)
                assert stage.kernel.sum() == pytest.approx(1)


def test_choices_come_as_often_as_the_table_says():
    table, rng = TABLES['standard'], np.random.default_rng(0)
    draws = [draw_degradation(rng, table) for _ in range(4000)]
    first, second = ([d.stages[i] for d in draws] for i in (0, 1))
    shares = {
        'blurred twice': (np.mean([s.kernel is not None for s in second]), 0.8),
        'kept size': (np.mean([s.factor == 1 for s in first]), 0.1),
        'shrunk': (np.mean([s.factor < 1 for s in first]), 0.7),
        'gaussian': (np.mean([s.gaussian for s in first]), 0.5),
        'grey': (np.mean([s.grey for s in second]), 0.4),
        'filtered before jpeg': (np.mean([d.sinc_first for d in draws]), 0.5),
        'no final filter': (np.mean([np.count_nonzero(d.final_kernel) == 1 for d in draws]), 0.2),
    }
    for name, (seen, wanted) in shares.items():
        assert seen == pytest.approx(wanted, abs=0.03), name


@pytest.mark.parametrize('name', TABLES)
def test_a_picture_becomes_a_quarter_and_stays_in_range(name):
    image = photos.crops(1)[0].astype(np.float32) / 255
    for seed in range(12):
        rng = np.random.default_rng(seed)
        out = degrade(image, draw_degradation(rng, TABLES[name]), rng)
        assert out.shape == (40, 40, 3)
        assert out.dtype == np.float32
        assert 0 <= out.min() <= out.max() <= 1


def test_the_same_seed_degrades_the_same_way():
    image = photos.crops(1)[0]
    np.testing.assert_array_equal(degrade_image(image, 5), degrade_image(image, 5))
    assert (degrade_image(image, 5) != degrade_image(image, 6)).any()


def test_sharpening_leaves_flat_areas_and_steepens_edges():
    image = np.full((80, 80, 3), 0.3, np.float32)
    np.testing.assert_allclose(sharpen(image), image, atol=1e-6)
    image[:, 40:] = 0.7
    out = sharpen(image)
    assert out[40, 41, 0] - out[40, 38, 0] > 0.45


def test_kernels_sum_to_one_and_isotropic_ones_are_symmetric():
    for kind in kernels.KINDS:
        k = kernels.gaussian_kernel(kind, 15, 1.7, 0.6, 0.4, 1.3)
        assert k.sum() == pytest.approx(1)
        if kind.endswith('iso') and 'aniso' not in kind:
            np.testing.assert_allclose(k, k.T, atol=1e-12)
    assert kernels.sinc_kernel(13, 2.0).sum() == pytest.approx(1)


def test_a_worse_target_says_in_its_caption_what_is_wrong_with_it():
    image = photos.crops(1)[0].astype(np.float32) / 255
    seen = set()
    for seed in range(40):
        out, caption = captions.degrade_target(image, np.random.default_rng(seed))
        faults = caption.split(', ')
        assert faults
        assert set(faults) <= set(captions.FAULTS)
        assert np.abs(out - image).mean() > 0.003
        seen |= set(faults)
    assert seen == set(captions.FAULTS)


def test_the_held_out_batch_is_the_same_at_every_start():
    tokenizer = load_tokenizer(NANO / 'tokenizer')
    one, two, other = (
        held_out.held_out_batch(sources.held_out(), 3, 80, d, 'sharp', tokenizer) for d in ('mild', 'mild', 'standard')
    )
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])
    assert one['hr'].shape == one['lq'].shape == (3, 80, 80, 3)
    assert (one['lq'] != other['lq']).any()


def test_a_share_of_a_wide_set_is_degraded_as_another_table_says():
    """JPEG of the first stage is never below 60 in `mild`, and 46 % of the time in `standard`."""
    table, rng = TABLES['wide'], np.random.default_rng(0)
    strong = np.mean([draw_degradation(rng, table).stages[0].quality < 60 for _ in range(4000)])
    np.testing.assert_allclose(strong, (1 - table.share) * 30 / 65, atol=0.02)


def test_a_camera_adds_hardly_any_noise_in_two_pictures_of_three():
    table, rng = TABLES['camera'], np.random.default_rng(0)
    noisy = [any(s.quality < 90 for s in draw_degradation(rng, table).stages) for _ in range(4000)]
    both_above = 5 / 35 * 10 / 40  # of `mild`, whose qualities are from 60 to 95 and to 100
    np.testing.assert_allclose(np.mean(noisy), table.share * (1 - both_above), atol=0.02)
