"""Names of methods become settings, or one line that says how to write them."""

import pytest

from addsr_jax.errors import UserError
from addsr_jax.restoration.comparison import parse_method
from addsr_jax.restoration.settings import Settings


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


def test_guidance_is_kept_for_the_teacher_alone():
    defaults = Settings(method='seesr', guidance_scale=3.0, seed=5)
    assert parse_method('seesr-9', defaults) == Settings(method='seesr', steps=9, guidance_scale=3.0, seed=5)
    assert parse_method('addsr-4', defaults) == Settings(steps=4, seed=5)


@pytest.mark.parametrize(
    'text', ['gan', 'bicubic-4', 'bicubic@1', 'addsr-', 'addsr-4@', 'seesr-50@1', 'seesr-50x2', 'addsr-4x3']
)
def test_anything_else_is_refused(text):
    with pytest.raises(UserError, match=f'{text!r} is no method'):
        parse_method(text, Settings())
