"""Flags and help texts of the commands, made from declared options; their mistakes are one line."""

import argparse
import dataclasses
import importlib.util
from collections.abc import Iterable
from typing import Any, TypeVar

from addsr_jax import options
from addsr_jax.errors import UserError, put
from addsr_jax.installation import with_extra
from addsr_jax.options import Options

Kind = TypeVar('Kind', bound=Options)


class Parser(argparse.ArgumentParser):
    """argparse that only collects texts: `take` checks them as every other option is checked."""

    def __init__(self, command: str, description: str):
        super().__init__(prog=f'addsr {command}', description=description, allow_abbrev=False)
        self._headings: dict[str, argparse._ArgumentGroup] = {}
        self._blank: set[str] = set()  # what may be empty

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # pyright: ignore
        """As argparse's; the usage line names what has to be given and leaves the rest to the list below it."""
        needed = []
        for action in self._actions:
            shape = '{' + ','.join(action.choices) + '}' if action.choices else str(action.metavar or action.dest)
            if not action.option_strings:
                needed.append(f'{shape}{" ..." if action.nargs == "+" else ""}')
            elif action.required:
                needed.append(f'{action.option_strings[0]} {shape}')
        self.usage = ' '.join(['%(prog)s', *needed, '[options]'])
        found = super().parse_args(args, namespace)
        for action in self._actions:
            given = getattr(found, action.dest, None)
            texts = given if isinstance(given, list) else [given]
            if action.dest not in self._blank and any(isinstance(text, str) and not text.strip() for text in texts):
                what = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
                raise UserError(f'{what} is empty: it may come from a variable that has no value')
        return found

    def error(self, message: str):
        raise UserError(f'{self.prog.removeprefix("addsr ")}: {message}: see {self.prog} --help')

    def order(self, *groups: str) -> None:
        """Headings of the help in this order."""
        for group in groups:
            self._heading(group)

    def declare(self, kind: type[Options], *, without: Iterable[str] = ()) -> None:
        """A flag for every option of `kind`, under the heading of its group."""
        given = options.defaults(kind)
        for name, annotation in options.declared(kind).items():
            if name in without:
                continue
            said = options.describe(kind, name)
            place = self if not said.group else self._heading(said.group)
            flags = [f'-{said.short}'] * bool(said.short) + [f'--{name}']
            text, none = help_line(annotation, said, given.get(name)), argparse.SUPPRESS
            if said.blank:
                self._blank.add(name)
            if annotation is bool:
                place.add_argument(*flags, action='store_true', help=text, default=none)
            else:
                shape, needed = metavar(annotation, said), name not in given
                place.add_argument(*flags, metavar=shape, required=needed, help=text, default=none)

    def _heading(self, group: str) -> 'argparse._ArgumentGroup':
        if group not in self._headings:
            self._headings[group] = self.add_argument_group(group)
        return self._headings[group]


def take(values: argparse.Namespace, kind: type[Kind], **more: Any) -> Kind:
    """The options of `kind` among parsed flags, and `more`; a UserError names the flag and what it allows."""
    known, data = options.declared(kind), {}
    for name, text in vars(values).items():
        if name in known:
            data[name] = options.parsed(known[name], text) if isinstance(text, str) else text
    return options.from_data(kind, {**data, **more}, '--')


def help_line(annotation: Any, said: options.Option, default: Any = None) -> str:
    """'what it is (in 0..4096 pixels; a multiple of 64; default: 512)': the field's line, its range and its default."""
    if annotation is bool:
        return said.help.replace('%', '%%')
    bounds = options.allowed(dataclasses.replace(said, multiple_of=None)).strip()
    allowed = bounds if said.choices is None else ', '.join(map(str, said.choices))
    multiple = f'a multiple of {said.multiple_of}' if said.multiple_of else ''
    value = said.unset if default in (None, '') else shown(default)
    facts = [f'{allowed} {said.unit}'.strip(), multiple, f'default: {value}' if value else '']
    told = '; '.join(fact for fact in facts if fact)
    return (f'{said.help} ({told})' if told else said.help).replace('%', '%%')


def shown(value: Any) -> str:
    """A default as one would type it."""
    return ','.join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def metavar(annotation: Any, said: options.Option) -> str:
    if said.choices is not None:
        return 'NAME'
    kinds = options.kinds_of(annotation)
    return next((text for kind, text in METAVARS.items() if kind in kinds), 'TEXT')


METAVARS = {int: 'N', float: 'X', options.Path: 'PATH'}


def require(extra: str, *modules: str) -> None:
    """A UserError where an extra of the package is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        lacking = f'{", ".join(missing)} {"are" if len(missing) > 1 else "is"} not installed'
        raise UserError(f'{lacking}: {with_extra(extra)}')


def say(line: str) -> None:
    """One line on stdout, at once."""
    put(line + '\n')
