"""docs/api.md, from the docstrings of what other programs call.

    python -m benchmarks.api

A test holds the file to what this makes.
"""

import argparse
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from addsr_jax import atomic, flags, options

PAGE = Path(__file__).parents[1] / 'docs' / 'api.md'
# What other programs may rely on: module -> names; of a class its public methods too.
PUBLIC = {
    'addsr_jax': ('load',),
    'addsr_jax.restoration.pipeline': ('Pipeline',),
    'addsr_jax.restoration.settings': ('Settings',),
    'addsr_jax.errors': ('UserError', 'PictureError', 'Cancelled'),
    'addsr_jax.restoration.exported': ('load', 'Artefact'),
    'addsr_jax.weights.bundle': ('Bundle', 'load', 'described', 'save'),
    'addsr_jax.weights.hub': ('located',),
}
METHODS = ('upscale', 'upscale_many', 'upscale_steps', 'sample', 'tag_probabilities', '__call__')
HEAD = """# The Python interface

Made from docstrings by `python -m benchmarks.api`. What is not here may change in any version.
"""


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    atomic.write_text(PAGE, page())
    flags.say(str(PAGE))
    return 0


def page() -> str:
    """The text of docs/api.md."""
    parts = [HEAD]
    for module, names in PUBLIC.items():
        found = importlib.import_module(module)
        parts.append(f'## {module}\n')
        for name in names:
            parts += described(getattr(found, name), f'{module}.{name}')
    return '\n'.join(parts).rstrip() + '\n'


def described(thing: Any, name: str) -> Iterator[str]:
    """A function, or a class with its methods, or the table of declared options."""
    if not inspect.isclass(thing):
        yield f'### {name}{signature(thing)}\n\n{text(thing)}\n'
        return
    yield f'### class {name}\n\n{text(thing)}\n'
    if issubclass(thing, options.Options):
        yield table(thing)
    for method in METHODS:
        if found := next((vars(kind)[method] for kind in thing.__mro__ if method in vars(kind)), None):
            called = '' if method == '__call__' else f'.{method}'
            yield f'#### {thing.__name__}{called}{signature(found)}\n\n{text(found)}\n'


def signature(function: Any) -> str:
    """'(path_or_name, mesh=None)': names and defaults; their types are in the docstring's words."""
    found = inspect.signature(function)
    shown = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values() if p.name != 'self']
    return str(found.replace(parameters=shown, return_annotation=inspect.Signature.empty))


def text(thing: Any) -> str:
    """The docstring, as a paragraph a block; names of values are set off where they are explained."""
    blocks = re.split(r'\n\s*\n', inspect.getdoc(thing) or '')
    joined = '\n\n'.join(' '.join(block.split()) for block in blocks)
    return re.sub(r'(^|(?<=[.:] ))(\w+): ', r'\1`\2`: ', joined, flags=re.MULTILINE)


def table(kind: type[options.Options]) -> str:
    """Name, default and meaning of every option."""
    given = options.defaults(kind)
    rows = ['| setting | default | meaning |', '| --- | --- | --- |']
    for name, annotation in options.declared(kind).items():
        said = options.describe(kind, name)
        default = said.unset or flags.shown(given.get(name))
        line = flags.help_line(annotation, said).replace('%%', '%').replace('|', '\\|')
        rows.append(f'| `{name}` | {default} | {line} |')
    return '\n'.join(rows) + '\n'


if __name__ == '__main__':
    sys.exit(main())
