"""Settings of one picture: what means nothing is refused, and names of methods become settings."""

import dataclasses
import math

import pytest

from addsr_jax.diffusion.methods import METHODS
from addsr_jax.errors import UserError
from addsr_jax.options import from_data
from addsr_jax.restoration import finish
from addsr_jax.restoration.settings import PSR_WEIGHT, Settings, parse_method
from addsr_jax.specs import COLORS


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'guidance_scale': math.nan}, r'guidance_scale is nan: it must be a number in 0\.\.30'),
        ({'steps': 2.5}, r'steps is 2\.5: it must be a whole number'),
        ({'steps': True}, 'steps is True'),
        ({'seed': 1.5}, r'seed is 1\.5'),
        ({'seed': -1}, 'seed is -1'),
        ({'antithetic': 'no'}, "antithetic is 'no': it must be true or false"),
        ({'batch': '2'}, "batch is '2'"),
        ({'scale': math.inf}, 'scale is inf'),
        ({'prompt': None}, 'prompt is None: it must be text'),
        ({'latent_overlap': -1, 'latent_tile': 16, 'tile': 0}, 'latent_overlap is -1'),
        ({'latent_overlap': 8}, 'latent_overlap is what windows share: set tile to 0 and latent_tile with it'),
        ({'encoder_tile': 32}, 'encoder_tile is of pictures that are restored whole: set tile to 0'),
        ({'method': 'seesr', 'psr_weight': 0.5}, 'psr_weight is of the student'),
        ({'method': 'seesr', 'fidelity': 0.5}, 'fidelity is of the student'),
        ({'method': 'seesr', 'antithetic': True}, 'antithetic is of the student'),
        ({'method': 'seesr', 'start_timestep': 400, 'start_point': 'noise'}, 'leave it out with start_point noise'),
        ({'start_timestep': 400}, 'start_timestep is of the teacher'),
        ({'scale': 2.0, 'megapixels': 1.0}, 'scale and megapixels both say how large the result is'),
        ({'width': 9, 'fit': 'crop'}, 'fit crop is of a width and a height: give both'),
        ({'width': 9, 'height': 9, 'fit': 'stretch', 'max_side': 5}, 'leave out max_side'),
        ({'stepz': 3}, r'there is no option stepz: did you mean steps\?'),
    ],
)
def test_what_means_nothing_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        from_data(Settings, settings)


def test_a_replaced_setting_is_checked_again():
    with pytest.raises(UserError, match='steps is 0'):
        dataclasses.replace(Settings(), steps=0)


@pytest.mark.parametrize('tile', [0, 192, 256, 512, 4096])
def test_tiles_are_whole_pictures_or_at_least_192(tile):
    assert Settings(tile=tile).tile == tile


@pytest.mark.parametrize('method', METHODS.values(), ids=METHODS)
def test_the_method_s_own_steps_or_the_model_s_hold_where_nobody_names_any(method):
    assert Settings(method=method.name).steps_with(3) == (method.steps or 3)
    assert Settings(method=method.name, steps=7).steps_with(3) == 7


def test_the_dial_s_steps_hold_whatever_the_model_s():
    assert Settings(fidelity=0.0).steps_with(3) == 8


def test_the_psr_weight_of_zero_is_a_weight_and_not_the_default():
    assert Settings().chosen.psr_weight == PSR_WEIGHT
    assert Settings(psr_weight=0.0).chosen.psr_weight == 0


BOTH = {'width': 60, 'height': 60}


@pytest.mark.parametrize(
    ('asked', 'size', 'part'),
    [
        (BOTH, (60, 30), (0, 0, 40, 20)),
        ({**BOTH, 'fit': 'crop'}, (60, 60), (10, 0, 20, 20)),
        ({**BOTH, 'fit': 'stretch'}, (60, 60), (0, 0, 40, 20)),
        ({'width': 1000, 'height': 1, 'fit': 'crop'}, (1000, 1), (0, 9, 40, 1)),
        ({'megapixels': 0.0002}, (20, 10), (0, 0, 40, 20)),
    ],
    ids=str,
)
def test_a_width_and_a_height_are_met_as_fit_says_and_megapixels_with_the_aspect_kept(asked, size, part):
    settings = Settings(**asked)
    assert settings.part(40, 20) == part
    assert settings.size(*part[2:]) == size


def test_what_is_stretched_along_one_side_is_restored_at_no_more_than_four_times_its_result():
    stretched = Settings(width=400, height=400, fit='stretch')
    assert stretched.enlargement(100, 90) == pytest.approx(400 / 90)
    wide, tall = stretched.restored(400, 8)
    assert wide * tall <= 4.1 * 400 * 400


def test_a_picture_below_the_smallest_counts_as_large_as_it_is_restored():
    assert Settings(width=500).restored(1, 1) == (4000, 4000)
    assert Settings().restored(3, 40) == (32, 160)
    assert Settings().restored(8, 9) == (32, 36)


def test_every_colour_that_can_be_asked_for_can_be_made():
    assert set(COLORS) - {'none', 'adain'} == set(finish.FIXES)  # adain sees whole pictures


@pytest.mark.parametrize(
    ('text', 'settings'),
    [
        ('addsr', Settings()),
        ('addsr-1', Settings(steps=1)),
        ('addsr-4@0.8', Settings(steps=4, psr_weight=0.8)),
        ('addsr-4x2', Settings(steps=4, antithetic=True)),
        ('addsr-2x2@0', Settings(steps=2, psr_weight=0.0, antithetic=True)),
        ('seesr-20', Settings(method='seesr', steps=20)),
        (' bicubic ', None),
    ],
)
def test_a_name_is_the_settings_it_spells(text, settings):
    assert parse_method(text, Settings()) == settings


def test_guidance_is_kept_for_the_teacher_alone_and_the_psr_weight_for_the_student():
    guided = Settings(method='seesr', guidance_scale=3.0, seed=5)
    assert parse_method('seesr-9', guided) == Settings(method='seesr', steps=9, guidance_scale=3.0, seed=5)
    assert parse_method('addsr-4', guided) == Settings(steps=4, seed=5)
    weighed = Settings(psr_weight=0.1)
    assert parse_method('addsr-4', weighed) == Settings(steps=4, psr_weight=0.1)
    assert parse_method('seesr-4', weighed) == Settings(method='seesr', steps=4)


@pytest.mark.parametrize(
    'text', ['gan', 'bicubic-4', 'bicubic@1', 'addsr-', 'addsr-4@', 'seesr-50@1', 'seesr-50x2', 'addsr-4x3', '']
)
def test_any_other_name_is_refused(text):
    with pytest.raises(UserError, match=f'{text!r} is no method: write bicubic or one of addsr-STEPS, seesr-STEPS'):
        parse_method(text, Settings())


@pytest.mark.parametrize(('text', 'message'), [('addsr-0', 'steps is 0'), ('addsr-4@1.5', 'psr_weight is 1.5')])
def test_a_name_with_numbers_out_of_range_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_method(text, Settings())


def test_a_whole_picture_takes_less_memory_by_tiles_of_the_autoencoder_and_then_by_windows():
    tiles = Settings(tile=0).in_less_memory()
    assert tiles is not None
    assert (tiles.encoder_tile, tiles.decoder_tile, tiles.latent_tile) == (512, 64, 0)
    windows = tiles.in_less_memory()
    assert windows is not None
    assert (windows.decoder_tile, windows.latent_tile) == (64, 64)
    assert windows.in_less_memory() is None
