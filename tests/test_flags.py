"""Flags come from declared options: what is typed, what the help says, and one line for every mistake."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from addsr_jax.errors import UserError
from addsr_jax.flags import Parser, take
from addsr_jax.options import Options, option


@dataclass(frozen=True, kw_only=True)
class Oven(Options):
    dish: Path = option('what goes in', short='d')
    degrees: float | None = option('heat', default=None, unset="the dish's own", above=0, high=300, unit='Celsius')
    racks: tuple[int, ...] = option('from below', default=(1, 2), low=0, high=4, least_items=1)
    mode: str = option('how it heats', default='fan', choices=('fan', 'grill'), group='heating')
    minutes: int = option('how long', default=0, low=0, high=600, multiple_of=5, unit='minutes', group='heating')
    door: bool = option('left open, 5 % of the way', default=False, group='heating')
    icing: str = option('words on it', default='none', blank=True)
    inner: str = option('no flag', default='x')


def parser() -> Parser:
    p = Parser('bake', 'Bakes.')
    p.add_argument('cook')
    p.declare(Oven, without=('inner',))
    return p


def baked(*arguments: str) -> Oven:
    return take(parser().parse_args(['Ann', *arguments]), Oven)


def test_typed_texts_become_values_and_the_rest_keeps_its_default():
    assert baked('-d', 'pie') == Oven(dish=Path('pie'))
    assert baked('--dish=pie', '--degrees', '180', '--racks', '0,3', '--mode', 'grill', '--door') == Oven(
        dish=Path('pie'), degrees=180.0, racks=(0, 3), mode='grill', door=True
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--degrees', 'hot'], r"^--degrees is 'hot': it must be a number above 0 and of at most 300$"),
        (['--degrees', '-5'], r'^--degrees is -5\.0: it must be'),
        (['--degrees', 'nan'], '^--degrees is nan'),
        (['--minutes', '1.5'], "^--minutes is '1.5': it must be a whole number"),
        (['--racks', '1,9'], r'^--racks is \(1, 9\): it must be a list of at least 1 whole numbers in 0\.\.4$'),
        (['--racks', ','], r'^--racks is \(\)'),
        (['--mode', 'steam'], "^--mode is 'steam': choose one of fan, grill$"),
        (['--degree', '5'], '^bake: unrecognized arguments: --degree 5: see addsr bake --help$'),
        (['--inner', 'y'], 'unrecognized arguments'),
        (['--minutes'], 'expected one argument'),
        (['-d', ''], '^--dish is empty: it may come from a variable that has no value$'),
        (['--mode='], '^--mode is empty'),
        (['--degrees', ' '], '^--degrees is empty'),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(arguments, message):
    with pytest.raises(UserError, match=message) as refused:
        baked('-d', 'pie', *arguments)
    assert len(str(refused.value).splitlines()) == 1


def test_only_a_text_that_may_be_blank_is():
    assert baked('-d', 'pie', '--icing', '').icing == ''
    cooks = Parser('bake', 'Bakes.')
    cooks.add_argument('cooks', nargs='+', metavar='COOK')
    with pytest.raises(UserError, match=r'^COOK is empty: it may come from a variable'):
        cooks.parse_args(['Ann', ''])


def test_all_mistakes_are_said_at_once():
    with pytest.raises(UserError, match=r'--degrees is .*; --minutes is '):
        baked('-d', 'pie', '--degrees', '0', '--minutes', '-1')


def test_what_has_no_default_has_to_be_given():
    with pytest.raises(UserError, match='required: -d/--dish'):
        baked()


def test_the_help_says_range_unit_and_default_under_the_heading_of_the_group(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(['--help'])
    told = ' '.join(capsys.readouterr().out.split())
    assert told.startswith('usage: addsr bake cook -d PATH [options] Bakes.')
    assert "--degrees X heat (above 0 and of at most 300 Celsius; default: the dish's own)" in told
    assert '--racks N from below (in 0..4; default: 1,2)' in told
    assert '--mode NAME how it heats (fan, grill; default: fan)' in told
    assert '--minutes N how long (in 0..600 minutes; a multiple of 5; default: 0)' in told
    assert '--door left open, 5 % of the way' in told
    assert told.index('--racks N') < told.index('heating:') < told.index('--mode NAME')
    assert '--inner' not in told
    assert 'None' not in told
