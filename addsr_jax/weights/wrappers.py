"""What trainers put around a network's tensors: dicts in dicts, and words before every name.

Of several sets of the same network the moving average is taken, as those who published it use it; what is taken and
what is left is said.
"""

from collections.abc import Callable, Mapping
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
        there = [name for name in WRAPPERS if isinstance(content.get(name), dict)]
        if not there:
            break
        say(f"{path}: takes '{there[0]}'{_left(there[1:])}")
        content = content[there[0]]
    return content


def plain(tensors: Mapping[str, Stored], path: Path, say: Say) -> dict[str, Stored]:
    """Tensors without the words that all their names begin with."""
    found = dict(tensors)
    for _ in range(DEEPEST):
        first = {name.partition('.')[0] for name in found if '.' in name}
        there = [word for word in WRAPPERS if word in first]
        wrapped = all('.' in name and not name.startswith(LDM) for name in found)
        if not found or not wrapped or first - set(there):
            break
        say(f"{path}: names without '{there[0]}.'{_left(there[1:])}")
        start = f'{there[0]}.'
        found = {name.removeprefix(start): value for name, value in found.items() if name.startswith(start)}
    return _tower(found, path, say)


def _tower(tensors: dict[str, Stored], path: Path, say: Say) -> dict[str, Stored]:
    inside = {name for name in tensors if name.startswith(TOWER)}
    if not inside or not all(name in inside or name.startswith(TOWER_BESIDE) for name in tensors):
        return tensors
    say(f"{path}: names without '{TOWER}'{_left([TOWER_BESIDE] * (len(inside) < len(tensors)))}")
    return {name.removeprefix(TOWER): tensors[name] for name in tensors if name in inside}


def _left(names: list[str]) -> str:
    return f', and leaves {", ".join(printable(repr(name)) for name in names)}' if names else ''
