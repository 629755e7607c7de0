"""Options: each declared once, in a field of a frozen dataclass, and checked once, wherever its value comes from.

    @dataclass(frozen=True, kw_only=True)
    class Optimizer(Options):
        learning_rate: float = option('after the warm-up', default=2e-5, above=0, high=1)

A field says name, type, default, range or choices, unit and one line of help. Flags, help texts, config files and forms
are made from the fields; `from_data` makes the dataclass from plain data (a config, JSON, a form), and its constructor
checks as well, so that no value that was not checked exists. pydantic does the checking of types and ranges; it is
imported by the first check, not before.
"""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from addsr_jax import places
from addsr_jax.errors import UserError, printable

Kind = TypeVar('Kind', bound='Options')
SHOWN = 60  # characters of a wrong value that a message repeats
TOLD = 8  # mistakes of one kind that a message names


@dataclass(frozen=True)
class Option:
    """What a field says beside its name, type and default. Ranges and choices hold for the elements of a tuple."""

    help: str
    low: float | None = None  # at least
    high: float | None = None  # at most
    above: float | None = None  # more than
    below: float | None = None  # less than
    multiple_of: int | None = None
    choices: tuple[Any, ...] | None = None
    least_items: int = 0  # of a tuple or a dict, not of those inside it
    most_items: int | None = None
    unit: str = ''
    group: str = ''  # heading of a help text under which it stands; '': at the top
    free: bool = False  # may change between the starts of one training run
    bucket: bool = False  # of a path: it may lie in a bucket
    short: str = ''  # one letter that a flag has as well
    unset: str = ''  # what it is where nobody gives a value
    blank: bool = False  # of a text: it may hold nothing


def option(help: str, *, default: Any = dataclasses.MISSING, **rest: Any) -> Any:
    """A field of an `Options` dataclass; `rest` are fields of `Option`. Without a default it has to be given."""
    metadata = {'option': Option(help, **rest)}
    if isinstance(default, type):  # a group of options: its own defaults
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base of all declared options: the constructor refuses what the fields do not allow."""

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in declared(type(self))}
        for name, value in _checked(type(self), values, '').items():
            object.__setattr__(self, name, value)
        self.check_together()

    def check_together(self) -> None:
        """Refuses combinations that mean nothing, by a UserError; the single values are right already."""


@functools.cache
def declared(kind: type[Options]) -> dict[str, Any]:
    """{name: its type} of every option, in the order of declaration."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def describe(kind: type[Options], name: str) -> Option:
    """What the field says."""
    field = next(f for f in dataclasses.fields(kind) if f.name == name)
    return field.metadata['option']


def defaults(kind: type[Options]) -> dict[str, Any]:
    """{name: default} of the options that have one; groups as nested dicts."""
    values = default_values(kind)
    return {name: to_data(value) if isinstance(value, Options) else value for name, value in values.items()}


def to_data(value: Options) -> dict[str, Any]:
    """Plain data: nested dicts, tuples as they are."""
    return dataclasses.asdict(value)


def unusual(value: Options) -> dict[str, Any]:
    """Of plain data what is not the default."""
    usual = defaults(type(value))
    return {name: given for name, given in to_data(value).items() if name not in usual or given != usual[name]}


def from_data(kind: type[Kind], data: Any, where: str = '', *, complete: bool = False) -> Kind:
    """The options of plain data; a UserError names everything that is unknown, missing or wrong, and what is allowed.

    where: what stands before a name in messages, like 'config.objective.' or '--'. complete: every option has to be
    there, whether it has a default or not.
    """
    if not isinstance(data, Mapping):
        raise UserError(f'{where.rstrip(".") or "this"} is {_shown(data)}: it must be {", ".join(declared(kind))}')
    given = {} if complete else default_values(kind)
    values = _checked(kind, {**given, **data}, where, complete)
    try:
        return kind(**values)
    except UserError as error:
        place = where.rstrip('.-')
        raise UserError(f'{place}: {error}' if place else str(error)) from error


def default_values(kind: type[Options]) -> dict[str, Any]:
    """As `defaults`, but groups as the values that they are."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    return found


def _checked(kind: type[Options], values: Mapping[str, Any], where: str, complete: bool = False) -> dict[str, Any]:
    """The values, as the fields' types hold them; one UserError for all that is wrong."""
    known = declared(kind)
    strange = [name for name in values if name not in known]
    problems = [unknown(printable(str(name), SHOWN), known, where) for name in strange[:TOLD]]
    problems += [f'{len(strange) - TOLD} more do not exist'] if len(strange) > TOLD else []
    missing = [name for name in known if name not in values]
    if missing:
        problems.append(f'{where}{f", {where}".join(missing)} {"is" if len(missing) == 1 else "are"} missing')
    checked = {}
    for name, annotation in known.items():
        if name in values:
            try:
                checked[name] = _value(kind, name, annotation, values[name], where, complete)
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError('; '.join(problems))
    return checked


def unknown(name: Any, known: typing.Iterable[str], where: str) -> str:
    """The sentence about an option that does not exist: it names the nearest, or all there are."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f'did you mean {" or ".join(near)}?' if near else f'there are {", ".join(names)}'
    return f'there is no option {where}{name}: {hint}'


def _value(kind: type[Options], name: str, annotation: Any, value: Any, where: str, complete: bool) -> Any:
    group = group_of(annotation)
    if group is not None:
        if isinstance(value, group) or (value is None and annotation is not group):
            return value
        return from_data(group, value, f'{where}{name}.', complete=complete)
    from pydantic import ValidationError

    try:
        said = dataclasses.replace(describe(kind, name), help='', unit='', group='', free=False, short='', unset='')
        return _adapter(annotation, said).validate_python(value.item() if type(value).__module__ == 'numpy' else value)
    except UserError as error:
        raise UserError(f'{where}{name}: {error}') from error
    except (ValidationError, AttributeError, ValueError, TypeError) as error:
        wanted = requirement(annotation, describe(kind, name))
        raise UserError(f'{where}{name} is {_shown(value)}: {wanted}') from error


def typed(annotation: Any, value: Any, where: str) -> Any:
    """The value, where it is of that type; a UserError begins with `where` and says what it has to be."""
    from pydantic import ValidationError

    try:
        return _adapter(annotation, Option('')).validate_python(value)
    except ValidationError as error:
        raise UserError(f'{where} is {_shown(value)}: {requirement(annotation, Option(""))}') from error


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f'{text[: SHOWN - 3]}...'


def kinds_of(annotation: Any) -> set[Any]:
    """The plain types in an annotation: {int, NoneType} of `int | None`."""
    parts = typing.get_args(annotation)
    return {annotation} if not parts else set().union(*(kinds_of(part) for part in parts))


def group_of(annotation: Any) -> type[Options] | None:
    """The dataclass of an option that is a group of options itself, or None."""
    for part in (annotation, *typing.get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Options):
            return part
    return None


@functools.cache
def _adapter(annotation: Any, said: Option) -> Any:
    """pydantic's check of a type and a range, made once for all fields that have the same."""
    from pydantic import TypeAdapter

    return TypeAdapter(_constrained(annotation, said))


def _constrained(annotation: Any, said: Option) -> Any:
    """The type as pydantic checks it: numbers are not made of text, nor whole ones of fractions."""
    from pydantic import AfterValidator, Field, PlainValidator, Strict

    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    inner = dataclasses.replace(said, least_items=0, most_items=None)  # counts are of the outermost tuple or dict
    items = Field(min_length=said.least_items, max_length=said.most_items)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_constrained(part, said) for part in parts)]  # noqa: UP007, the parts are computed
    if origin is tuple:
        elements = tuple(part if part is ... else _constrained(part, inner) for part in parts)
        return typing.Annotated[tuple[elements], items]  # pyright: ignore
    if origin is dict:
        return typing.Annotated[dict[str, _constrained(parts[1], inner)], items]  # pyright: ignore
    if annotation in (int, float):
        bounds = Field(ge=said.low, le=said.high, gt=said.above, lt=said.below, multiple_of=said.multiple_of)
        annotation = typing.Annotated[annotation, Strict(), bounds, Field(allow_inf_nan=False)]
        annotation = typing.Annotated[annotation, _no_bool()]
    elif annotation in (bool, str):
        annotation = typing.Annotated[annotation, Strict()]
    elif annotation is Path:
        annotation = typing.Annotated[annotation, PlainValidator(places.place if said.bucket else places.local)]
    if said.choices is not None and annotation is not type(None):
        annotation = typing.Annotated[annotation, AfterValidator(functools.partial(_one_of, said.choices))]
    return annotation


def _no_bool() -> Any:
    from pydantic import BeforeValidator

    def number(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError('true and false are no numbers')
        return value

    return BeforeValidator(number)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if value not in choices:
        raise ValueError(f'one of {choices}')
    return value


NOUNS = {
    int: 'a whole number',
    float: 'a number',
    str: 'text',
    bool: 'true or false',
    Path: 'a path',
    Any: 'a value',
    tuple: 'a list',
    list: 'a list',
}

PLURALS = {'a whole number': 'whole numbers', 'a number': 'numbers', 'text': 'texts', 'a path': 'paths'}


def requirement(annotation: Any, said: Option) -> str:
    """'it must be a whole number in 1..8', 'choose one of a, b'."""
    if said.choices is not None and typing.get_origin(annotation) not in (tuple, dict):
        none = ', or leave it out' if type(None) in typing.get_args(annotation) else ''
        return f'choose one of {", ".join(str(c) for c in said.choices)}{none}'
    return f'it must be {_noun(annotation, said)}'


def _noun(annotation: Any, said: Option) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return ' or '.join(_noun(part, said) for part in parts if part is not type(None))
    inner = dataclasses.replace(said, least_items=0, most_items=None)
    if origin is tuple:
        element = _noun(parts[0], inner)
        for one, many in PLURALS.items():
            element = element.replace(one, many)
        count = ' and '.join(
            [f'at least {said.least_items}'] * bool(said.least_items)
            + [f'at most {said.most_items}'] * (said.most_items is not None)
        )
        count += ' ' if count else ''
        return f'a list of {count}{element}' if parts[-1] is ... else f'{len(parts)} values: {element}'
    if origin is dict:
        count = f'at least {said.least_items} names' if said.least_items else 'names'
        return f'a group of {count}, each with {_noun(parts[1], inner)}'
    if said.choices is not None:
        return f'of {", ".join(str(c) for c in said.choices)}'
    return f'{NOUNS.get(annotation) or annotation.__name__}{allowed(said)}'


def allowed(said: Option) -> str:
    """The range in words, with a space before it: ' in 0..1', ' of at least 1', ' above 0'; '' for none."""
    low, high, above, below = (_plain(bound) for bound in (said.low, said.high, said.above, said.below))
    words = []
    if low and high:
        words.append(f'in {low}..{high}')
    else:
        words += [f'of at least {low}'] if low else []
        words += [f'above {above}'] if above else []
        words += [f'of at most {high}'] if high else []
    words += [f'below {below}'] if below else []
    text = ' and '.join(words)
    multiple = f'that is a multiple of {said.multiple_of}' if said.multiple_of else ''
    return ''.join(f' {part}' for part in (text, multiple) if part)


def _plain(bound: float | None) -> str:
    """Whole numbers with all their digits; '' for None."""
    if bound is None:
        return ''
    return str(int(bound)) if float(bound).is_integer() else f'{bound:g}'


def parsed(annotation: Any, text: str) -> Any:
    """What somebody typed, as a value of that type where it is one; else the text itself, which the check refuses."""
    if typing.get_origin(annotation) is tuple:
        element = typing.get_args(annotation)[0]
        return tuple(parsed(element, part.strip()) for part in text.split(',') if part.strip())
    for part in (annotation, *typing.get_args(annotation)):
        if part is bool and text.lower() in ('true', 'false'):
            return text.lower() == 'true'
        if part in (int, float):
            try:
                return part(text)
            except ValueError:
                continue
    return text
