"""The one way in for JSON: bounded, checked for what it is, and wrong in one line.

What the standard's reader lets pass is refused: a name that occurs twice in an object, and numbers that are not finite.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from addsr_jax import places
from addsr_jax.errors import UserError, printable

LARGEST = 4 << 20  # bytes; a tokenizer's vocabulary takes 1 MB, an index of 10,000 tensors as much
DEEPEST, MOST_GROUPS = 64, 200_000  # objects and lists inside one another, and in all
_BRACKETS = re.compile(
    r'"(?:[^"\\]|\\.)*+"?|[][{}]', re.DOTALL
)  # texts are passed over whole, the last one without its end too


def read(path: Path, advice: str, *, finite: bool = True) -> dict[str, Any]:
    """The object in a file; a UserError says what is wrong with it, and `advice`. finite: no infinity and no NaN."""
    try:
        return of_file(path, finite=finite)
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): {advice}') from error


def of_file(path: Path, *, finite: bool = True, largest: int | None = None) -> dict[str, Any]:
    """The object in a file of at most `largest` bytes, None: LARGEST; OSError and ValueError say what is wrong."""
    return of_text(places.read_text(path, LARGEST if largest is None else largest), finite=finite)


def of_text(text: str, *, finite: bool = True) -> dict[str, Any]:
    """The object in a text; ValueError says what is wrong."""
    depth = groups = 0
    for part in _BRACKETS.finditer(text):
        change = {'[': 1, '{': 1, ']': -1, '}': -1}.get(part[0], 0)
        depth, groups = depth + change, groups + (change > 0)
        if groups > MOST_GROUPS:
            raise ValueError(f'it holds more than {MOST_GROUPS} lists and objects')
        if depth > DEEPEST:
            raise ValueError('it is nested too deeply')
    number = _finite if finite else float
    found = json.loads(text, object_pairs_hook=_object, parse_float=number, parse_constant=number)
    if not isinstance(found, dict):
        raise ValueError(f'it holds {type(found).__name__}, not an object')
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))
        raise ValueError(f'{printable(twice)} occurs twice')
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f'{printable(text)} is no number')
    return number
