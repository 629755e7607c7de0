"""Where a small picture shows nothing: exactly there the enlargement is calm, or loses the texture of a network."""

import numpy as np

from addsr_jax.ops.enlarged import Enlarged
from addsr_jax.restoration.plainness import Plain, calm_places, plain_places

RNG = np.random.default_rng(0)


def test_one_colour_and_clean_gradients_are_calm_and_what_has_noise_or_is_near_an_edge_is_not():
    flat = np.full((40, 60, 3), 90, np.uint8)
    gradient = np.add.outer(np.arange(40), np.arange(60))[..., None].repeat(3, 2) // 3 + 50
    for calm in (flat, gradient.astype(np.uint8), flat.astype(np.uint16) * 257):
        found = calm_places(calm, 0.7, 240, 160)
        assert found is not None
        places = found.rows(0, 160)[..., 0]
        assert places.shape == (160, 240)
        assert places.min() == 1
    noisy = flat + (RNG.random((40, 60, 1)) < 0.05).astype(np.uint8)  # a level, here and there
    found = calm_places(noisy, 0.7, 60, 40)
    assert found is None or found.rows(0, 40)[..., 0].mean() < 0.2
    edge = flat.copy()
    edge[:, 30:] = 200
    found = calm_places(edge, 0.7, 60, 40)
    assert found is not None
    places = found.rows(0, 40)[..., 0]
    assert places[:, 25:35].max() == 0
    assert places[:, :23].min() == 1


def test_walls_and_gradients_are_plain_and_grass_letters_and_noise_are_not():
    wall = np.add.outer(np.arange(40), np.arange(60))[..., None].repeat(3, 2) // 8 + 90
    grass = RNG.integers(60, 120, (40, 60, 3))
    noisy = wall + RNG.integers(-3, 4, (40, 60, 1))
    picture = np.concatenate([wall, grass], 1)
    for deep in (1, 257):
        of_type = np.uint8 if deep == 1 else np.uint16
        found = plain_places((picture * deep).astype(of_type), 3.0, 480, 160)
        assert found is not None
        shares = found.shares.rows(0, 160)[..., 0]
        assert shares[:, :200].mean() > 0.9
        assert shares[:, 280:].max() == 0
        assert plain_places((grass * deep).astype(of_type), 3.0, 240, 160) is None
    found = plain_places(noisy.astype(np.uint8), 3.0, 240, 160)
    assert found is None or found.shares.rows(0, 160).mean() < 0.01


def test_where_it_is_plain_faint_texture_goes_edges_stay_and_colours_keep_their_differences():
    ones = Enlarged(np.ones((16, 64, 1), np.float32), 64, 64)
    strokes = np.where(np.arange(64) % 4 < 2, 1.0, -1.0) / 127.5  # one level up and down
    picture = np.tile((0.1 + strokes)[None, :, None], (64, 1, 3)).astype(np.float32)
    picture[..., 0] += 0.2
    edge = picture.copy()
    edge[32:] += 0.8
    plain = Plain(ones, 3.0)
    for image, rows in ((picture, np.s_[8:56]), (edge, np.s_[8:24])):
        made = image + plain.change(image, 0, slice(0, 64))
        assert made[rows, 8:56].std((0, 1)).max() < 0.2 * image[rows, 8:56].std((0, 1)).max()
        np.testing.assert_allclose(made[..., 0] - made[..., 1], 0.2, atol=1e-5)
    step = edge + plain.change(edge, 0, slice(0, 64))
    assert (step[32] - step[31]).min() > 0.79
    nowhere = Plain(Enlarged(np.zeros((16, 64, 1), np.float32), 64, 64), 3.0)
    assert not nowhere.change(edge, 0, slice(0, 64)).any()


def test_rows_of_a_strip_are_smoothed_as_the_whole_picture_is():
    image = RNG.normal(0, 0.02, (80, 30, 3)).astype(np.float32)
    plain = Plain(Enlarged(RNG.random((20, 30, 1)).astype(np.float32), 30, 80), 3.0)
    whole = plain.change(image, 0, slice(0, 80))
    part = plain.change(image[10:70], 10, slice(12, 40))
    np.testing.assert_allclose(part, whole[22:50], atol=1e-6)
