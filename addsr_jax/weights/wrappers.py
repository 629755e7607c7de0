"""What trainers put around a network's tensors: dicts in dicts, and words before every name.

Of several sets of the same network the moving average is taken, as those who published it use it; what is taken and
what is left is said.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from addsr_jax.errors import printable
from addsr_jax.weights.stored import Stored

Say = Callable[[str], None]
# Names of dicts, and first words of names, that hold a whole network; the first that is there is taken.
WRAPPERS = (
    'params_ema',
    'ema',
    'model_ema',
    'ema_state_dict',
    'state_dict_ema',
    'teacher',  # of DINO, whose student is not published
    'model',
    'state_dict',
    'model_state_dict',
    'params',
    'net',
    'network',
    'student',
    'module',  # of torch's data parallel
    '_orig_mod',  # of torch.compile
)
LDM = ('model.diffusion_model.', 'model_ema.')  # names in which such a word is no wrapper
TOWER = 'backbone.'  # of DINO's trainer, which keeps a projection beside it
TOWER_BESIDE = 'head.'
DEEPEST = 8  # wrappers inside one another


def quiet(line: str) -> None:
    """Says nothing."""


def inner(content: Mapping[Any, Any], path: Path, say: Say) -> Mapping[Any, Any]:
    """The dict that holds the tensors, of a file that holds dicts."""
    for _ in range(DEEPEST):
        there = [name for name in WRAPPERS if isinstance(content.get(name), dict) and _holds_numbers(content[name])]
        if not there:
            break
        say(f"{path}: takes '{there[0]}'{_left(there[1:])}")
        content = content[there[0]]
    return content


def plain(tensors: Mapping[str, Stored], path: Path, say: Say) -> dict[str, Stored]:
    """Tensors without the words that all their names begin with, and without the counters beside such ones."""
    found, counters = dict(tensors), list[str]()
    for _ in range(DEEPEST):
        sets = {name: value for name, value in found.items() if not _is_counter(name, value)}
        first = {name.partition('.')[0] for name in sets if '.' in name}
        there = [word for word in WRAPPERS if _holds_numbers(_inside(sets, word))]
        wrapped = all('.' in name and not name.startswith(LDM) for name in sets)
        if not there or not wrapped or first - set(WRAPPERS):
            break
        counters += [name for name in found if name not in sets]
        others = [word for word in WRAPPERS if word in first and word != there[0]]
        say(f"{path}: names without '{there[0]}.'{_left(others)}")
        found = _inside(found, there[0])
        counters += [name for name, value in found.items() if _is_counter(name, value)]
        found = {name: value for name, value in found.items() if name not in counters}
    if counters:
        say(f'{path}: leaves {_named(dict.fromkeys(counters))}')
    return _tower(found, path, say)


def _inside(tensors: Mapping[str, Stored], word: str) -> dict[str, Stored]:
    start = f'{word}.'
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _is_counter(name: str, value: Stored) -> bool:
    """Whether it is one number that a trainer keeps, as of its steps: no network has one outside its layers."""
    return '.' not in name and math.prod(value.shape) == 1


def _holds_numbers(content: Mapping[Any, Any]) -> bool:
    """Whether a dict is of more than settings and counters, itself or in dicts inside it."""
    left, seen = [content], set[int]()
    while left:
        for value in left.pop().values():
            if isinstance(value, Stored) and math.prod(value.shape) > 1:
                return True
            if isinstance(value, dict) and id(value) not in seen:  # a file may hold one dict in many places
                seen.add(id(value))
                left.append(value)
    return False


def _tower(tensors: dict[str, Stored], path: Path, say: Say) -> dict[str, Stored]:
    inside = {name for name in tensors if name.startswith(TOWER)}
    if not inside or not all(name in inside or name.startswith(TOWER_BESIDE) for name in tensors):
        return tensors
    say(f"{path}: names without '{TOWER}'{_left([TOWER_BESIDE] * (len(inside) < len(tensors)))}")
    return {name.removeprefix(TOWER): tensors[name] for name in tensors if name in inside}


def _left(names: list[str]) -> str:
    return f', and leaves {_named(names)}' if names else ''


def _named(names: Iterable[str]) -> str:
    return ', '.join(printable(repr(name)) for name in names)
