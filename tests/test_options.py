"""Options are checked once, wherever a value comes from; every declared option refuses what it cannot be."""

import dataclasses
import importlib
import math
import typing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import addsr_jax
from addsr_jax import options
from addsr_jax.errors import UserError
from addsr_jax.options import Option, Options, declared, describe, from_data, group_of, option, to_data
from addsr_jax.sizes import MODELS
from addsr_jax.training import config
from addsr_jax.training.options import TRAINING

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Brush(Options):
    width: float = option('of a stroke', default=1.0, above=0, high=9, unit='mm')
    hairs: int = option('in it', default=8, low=2, high=64, multiple_of=2)


@dataclass(frozen=True, kw_only=True)
class Picture(Options):
    title: str = option('under it')
    layers: tuple[int, ...] = option('of paint, each a count', default=(1, 2), low=0, high=9, least_items=1)
    medium: str = option('what it is painted with', default='oil', choices=('oil', 'ink'))
    glossy: bool = option('varnished', default=False)
    frame: str | None = option('around it', default=None, choices=('wood', 'brass'))
    place: Path = option('where it hangs', default=Path('wall'))
    prices: dict[str, float] = option('by country', low=0, high=1e6, least_items=1)
    brush: Brush = option('main brush', default=Brush)

    def check_together(self) -> None:
        if self.medium == 'ink' and self.glossy:
            raise UserError('ink is not varnished: set glossy=false')


DATA = {'title': 'Night', 'prices': {'NL': 3}}


def test_plain_data_become_the_types_of_the_fields():
    picture = from_data(Picture, {**DATA, 'layers': [3], 'place': 'hall', 'brush': {'hairs': np.int64(4)}})
    assert picture == Picture(title='Night', prices={'NL': 3.0}, layers=(3,), place=Path('hall'), brush=Brush(hairs=4))
    assert isinstance(picture.brush.hairs, int)
    assert to_data(picture)['brush'] == {'width': 1.0, 'hairs': 4}


def test_all_that_is_wrong_is_said_in_one_line():
    data = {**DATA, 'tilte': 'x', 'glossy': 'yes', 'brush': {'width': 0, 'hairs': 3, 'colour': 'red'}}
    with pytest.raises(UserError) as refused:
        from_data(Picture, data, 'config.')
    assert str(refused.value).split('; ') == [
        'there is no option config.tilte: did you mean title?',
        "config.glossy is 'yes': it must be true or false",
        'there is no option config.brush.colour: there are width, hairs',
        'config.brush.width is 0: it must be a number above 0 and of at most 9',
        'config.brush.hairs is 3: it must be a whole number in 2..64 that is a multiple of 2',
    ]


def test_what_is_missing_is_named_and_with_complete_defaults_do_not_stand_in():
    with pytest.raises(UserError, match=r'^title, prices are missing$'):
        from_data(Picture, {})
    with pytest.raises(UserError, match=r'config\.layers, config\.medium, .* are missing'):
        from_data(Picture, DATA, 'config.', complete=True)
    with pytest.raises(UserError, match=r'config\.brush\.hairs is missing'):
        from_data(Picture, {**to_data(from_data(Picture, DATA)), 'brush': {'width': 1}}, 'config.', complete=True)


def test_meaningless_combinations_are_refused_with_the_place():
    with pytest.raises(UserError, match=r'^config: ink is not varnished'):
        from_data(Picture, {**DATA, 'medium': 'ink', 'glossy': True}, 'config.')
    with pytest.raises(UserError, match=r'^ink is not varnished'):
        dataclasses.replace(from_data(Picture, {**DATA, 'glossy': True}), medium='ink')


@pytest.mark.parametrize('data', [None, 3, 'title', [('title', 'x')]])
def test_what_is_no_group_of_names_is_refused(data):
    with pytest.raises(UserError, match='it must be title, layers'):
        from_data(Picture, data)


def test_a_value_that_was_not_checked_cannot_exist():
    with pytest.raises(UserError, match='hairs is 3'):
        Brush(hairs=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Brush().hairs = 3  # pyright: ignore


def test_the_least_number_of_items_holds_for_the_outermost():
    @dataclass(frozen=True, kw_only=True)
    class Plan(Options):
        runs: dict[str, tuple[str, ...]] = option('by name', least_items=2)

    assert Plan(runs={'a': (), 'b': ('x',)}).runs['a'] == ()
    with pytest.raises(UserError, match='it must be a group of at least 2 names, each with a list of texts'):
        Plan(runs={'a': ('x', 'y')})


def test_long_values_are_cut_in_messages():
    with pytest.raises(UserError) as refused:
        from_data(Picture, {**DATA, 'medium': 'x' * 500})
    assert len(str(refused.value)) < 120


def test_numbers_beyond_any_float_are_refused():
    with pytest.raises(UserError, match='width is 1'):
        Brush(width=10**400)


def test_defaults_are_plain_and_only_of_options_that_have_one():
    assert options.defaults(Picture) == {
        'layers': (1, 2),
        'medium': 'oil',
        'glossy': False,
        'frame': None,
        'place': Path('wall'),
        'brush': {'width': 1.0, 'hairs': 8},
    }


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('layers', '3, 4', (3, 4)),
        ('layers', '3,x', (3, 'x')),
        ('title', '12', '12'),
        ('glossy', 'True', True),
        ('glossy', 'maybe', 'maybe'),
        ('frame', 'wood', 'wood'),
    ],
)
def test_typed_text_becomes_a_value_of_the_type_or_stays_text(name, text, value):
    assert options.parsed(declared(Picture)[name], text) == value


@pytest.mark.parametrize(
    ('bounds', 'words'),
    [
        ({'low': 0, 'high': 1}, ' in 0..1'),
        ({'low': 1, 'high': 10_000_000}, ' in 1..10000000'),
        ({'low': 1}, ' of at least 1'),
        ({'above': 0, 'below': 1}, ' above 0 and below 1'),
        ({'low': 0, 'below': 1}, ' of at least 0 and below 1'),
        ({'high': 2.5}, ' of at most 2.5'),
        ({}, ''),
    ],
)
def test_ranges_in_words(bounds, words):
    assert options.allowed(Option('', **bounds)) == words


# All options that the package declares.


def modules() -> list[str]:
    """Modules of the package that declare options."""
    package = Path(addsr_jax.__file__).parent
    found = []
    for path in sorted(package.rglob('*.py')):
        if 'addsr_jax.options import' in path.read_text(encoding='utf-8'):
            found.append('.'.join(('addsr_jax', *path.relative_to(package).with_suffix('').parts)))
    return found


def kinds(root: type[Options] = Options) -> list[type[Options]]:
    below = [kind for direct in root.__subclasses__() for kind in (direct, *kinds(direct))]
    ours = {kind for kind in below if kind.__module__.startswith('addsr_jax')}
    return sorted(ours, key=lambda kind: (kind.__name__, kind.__module__))


for module in modules():
    importlib.import_module(module)
KINDS = kinds()
SHIPPED = [config.train_options(f'{ROOT}/configs/{stage}.py', ()) for stage in TRAINING]


def inside(value: Options) -> list[Options]:
    """A value and the groups in it."""
    groups = [getattr(value, field.name) for field in dataclasses.fields(value)]
    return [value, *(found for group in groups if isinstance(group, Options) for found in inside(group))]


EXAMPLES = {type(found): found for value in (*MODELS.values(), *SHIPPED) for found in inside(value)}


def in_use(kind: type[Options]) -> dict:
    """What a group needs that has no defaults, or whose defaults want something beside them."""
    shipped = config.read(f'{ROOT}/configs/ablation.py', ()).to_dict()
    given = {
        'addsr_jax.ablate.Plan': shipped,
        'addsr_jax.evaluate.Command': {'hr': 'hr', 'lq': 'lq'},
        'addsr_jax.weights.card.Origin': {'repository': 'of/it', 'commit': '1', 'sha256': {'file': 'hash'}},
    }
    needed = set(declared(kind)) - set(options.default_values(kind))
    return given.get(
        f'{kind.__module__}.{kind.__name__}', {name: (describe(kind, name).choices or ('x',))[0] for name in needed}
    )


def example(kind: type[Options]) -> Options:
    """A right value: one in use, else the defaults with the first choice where there is none."""
    if kind not in EXAMPLES:
        EXAMPLES[kind] = from_data(kind, in_use(kind))
    return EXAMPLES[kind]


def wrong_values(annotation, said: Option) -> list:
    """What an option of that type and range cannot be."""
    parts = typing.get_args(annotation)
    if group_of(annotation) is not None:
        return [5, 'text', {'no such option': 1}]
    if type(None) in parts:
        kept = [part for part in parts if part is not type(None)]
        return [value for value in wrong_values(kept[0], said) if value is not None] if len(kept) == 1 else []
    if typing.get_origin(annotation) is tuple:
        size = said.least_items if parts[-1] is ... else len(parts)
        wrong = [(value,) * max(size, 1) for value in wrong_values(parts[0], said)]
        short = [(element_of(said, parts[0]),) * (size - 1)] if size else []
        return [None, 5, *wrong, *short]
    if typing.get_origin(annotation) is dict:
        return [None, 5, 'text', *({'name': value} for value in wrong_values(parts[1], said))]
    if annotation in (int, float):
        return [None, 'text', '1', True, math.nan, math.inf, -math.inf, *out_of_range(annotation, said)]
    if annotation is bool:
        return [None, 'yes', 'true', 2, 0.0, math.nan]
    return [None, 5, math.nan, *(['none of them'] if said.choices else [])]


def out_of_range(annotation, said: Option) -> list:
    if said.choices:
        return [max(said.choices) + 1]
    wrong = [said.above, said.below]
    wrong += [said.low - 1] if said.low is not None else []
    wrong += [said.high + 1] if said.high is not None else []
    wrong += [said.low + 1] if said.multiple_of and said.low is not None else []
    whole = [said.low + 0.5 if said.low is not None else 0.5] if annotation is int else []
    return [value for value in (*wrong, *whole) if value is not None]


def element_of(said: Option, annotation):
    return said.choices[0] if said.choices else said.low if said.low is not None else annotation()


FIELDS = [(kind, name) for kind in KINDS for name in declared(kind)]
IDS = [f'{kind.__module__}.{kind.__name__}.{name}' for kind, name in FIELDS]


def test_the_options_of_the_package_are_found():
    names = {kind.__name__ for kind in KINDS}
    assert {'AddsrObjective', 'DataOptions', 'LoopOptions', 'AddsrTraining', 'ModelSpec', 'UNetSpec'} <= names


@pytest.mark.parametrize(('kind', 'name'), FIELDS, ids=IDS)
def test_every_option_says_what_it_is_and_every_number_has_bounds(kind, name):
    said, annotation = describe(kind, name), declared(kind)[name]
    assert said.help
    numbers = {int, float} & {annotation, *typing.get_args(annotation)}
    if numbers and not said.choices:
        assert said.low is not None or said.above is not None
        assert said.high is not None or said.below is not None


@pytest.mark.parametrize(('kind', 'name'), FIELDS, ids=IDS)
def test_every_option_refuses_what_it_cannot_be(kind, name):
    right = example(kind)
    values = {key: getattr(right, key) for key in declared(kind)}
    wrong = wrong_values(declared(kind)[name], describe(kind, name))
    assert wrong
    for value in wrong:
        with pytest.raises(UserError, match=rf'at\.{name}\b') as refused:
            from_data(kind, {**values, name: value}, 'at.')
        assert len(str(refused.value).splitlines()) == 1
        with pytest.raises(UserError, match=name):
            dataclasses.replace(right, **{name: value})


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: f'{kind.__module__}.{kind.__name__}')
def test_every_group_survives_plain_data_and_refuses_unknown_and_missing_names(kind):
    data = to_data(example(kind))
    assert from_data(kind, data, complete=True) == example(kind)
    with pytest.raises(UserError, match=r'no option at\.no_such_option'):
        from_data(kind, {**data, 'no_such_option': 1}, 'at.')
    for name in data:
        with pytest.raises(UserError, match=rf'at\.{name} is missing'):
            from_data(kind, {key: value for key, value in data.items() if key != name}, 'at.', complete=True)
