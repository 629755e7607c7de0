"""The help of a training config: every key with its default, range, unit and meaning, from the declared options."""

import dataclasses
import textwrap
from collections.abc import Iterator

from addsr_jax.options import Options, declared, describe, group_of, requirement
from addsr_jax.training.options import TRAINING, TrainOptions

NAME, WIDTH = 30, 120  # columns


def config_help() -> str:
    """All keys, grouped; defaults are those before a file of configs/ changes them."""
    parts = [
        'keys of the config, each set by --config.KEY=VALUE; defaults hold where the config file says nothing else:'
    ]
    parts.append('\n'.join(_entries(TrainOptions, '')))
    for name, annotation in declared(TrainOptions).items():
        kinds = {f', stage {stage}': group_of(declared(kind)[name]) for stage, kind in TRAINING.items()}
        if name != 'objective':
            kinds = {f': {describe(TrainOptions, name).help}': group_of(annotation)}
        for title, kind in kinds.items():
            if kind is not None:
                parts.append('\n'.join([f'{name}{title}', *_entries(kind, f'{name}.')]))
    return '\n\n'.join(parts) + '\n'


def _entries(kind: type[Options], prefix: str) -> Iterator[str]:
    """'  data.hr_size   side of the target; ... (default: 512 pixels; a whole number in 80..4096)'."""
    for field in dataclasses.fields(kind):
        annotation, said = declared(kind)[field.name], describe(kind, field.name)
        if group_of(annotation) is not None:
            continue
        default = '' if field.default is dataclasses.MISSING else f'default: {_shown(field.default)}'
        wanted = requirement(annotation, said).removeprefix('it must be ')
        facts = '; '.join(part for part in (f'{default} {said.unit}'.strip(), wanted) if part)
        name, indent = f'  {prefix}{field.name}', ' ' * (NAME + 1)
        if len(name) > NAME:
            yield name
            name = ''
        text = f'{name:<{NAME}} {said.help} ({facts})'
        yield textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, replace_whitespace=False)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'{value:g}' if isinstance(value, float) else repr(value) if value == '' else str(value)
