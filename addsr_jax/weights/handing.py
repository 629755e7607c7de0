"""What one process has read, handed to the others as bytes: tensors and hashes, or what was wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from addsr_jax import processes
from addsr_jax.attempts import reason_of
from addsr_jax.errors import UserError, printable
from addsr_jax.processes import HASH

COMPLAINT = 1024  # bytes for what was wrong, before everything else: zeros where nothing was
MISTAKE = b'!'  # before a complaint that was a UserError
LINE = 64  # bytes: every tensor begins at a multiple


@dataclass(frozen=True)
class Looked:
    """Tensors that were looked at, as they are kept, and their hashes as they were stored."""

    arrays: dict[str, Any]  # by path: numpy's, or jax's
    made: dict[str, int]


def shared(look: Callable[[], Looked] | None, shapes: Mapping[str, Any], giver: int) -> Looked:
    """What `look` finds at process `giver` (None at the others), at every process; all ask together.

    shapes: {path: shape and dtype} of what it finds. What it raises is raised everywhere.
    """
    content, found, failed = None, None, None
    if look is not None:
        try:
            found = look()
            content = _packed(found, shapes)
        except Exception as error:  # the others wait for an answer
            failed, content = error, _complaint(error, _end(shapes))
    given = processes.from_one(content, _end(shapes), giver)
    if failed is not None:
        raise failed
    return _unpacked(given, shapes) if found is None else found


def together(look: Callable[[], Mapping[str, int]], first: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """For every name the sum of what `look` finds at all processes, which ask together.

    first: of every name and process the first process that looks at the same, and finds the same number: it is counted
    once. What `look` raises anywhere is raised everywhere.
    """
    failed, found = None, {}
    try:
        found = look()
    except Exception as error:  # the others wait for an answer
        failed = error
    everyone = processes.from_all(np.zeros(COMPLAINT, np.uint8) if failed is None else _complaint(failed, COMPLAINT))
    if failed is not None:
        raise failed
    for given in everyone:
        _raise(given)
    numbers = processes.numbers_of_all([found[name] for name in first])
    by_name = dict(zip(first, zip(*numbers, strict=True), strict=True))
    for name, made in by_name.items():
        if any(made[process] != made[other] for process, other in enumerate(first[name])):
            raise UserError(f'{printable(name)} is not the same at every process: copy the folder again')
    return {name: sum(made[process] for process in set(first[name])) for name, made in by_name.items()}


def _places(shapes: Mapping[str, Any]) -> dict[str, slice]:
    """Where each tensor's bytes lie."""
    start, found = COMPLAINT + HASH * len(shapes), {}
    for name, leaf in shapes.items():
        start = -(-start // LINE) * LINE
        found[name] = slice(start, start + leaf.size * leaf.dtype.itemsize)
        start = found[name].stop
    return found


def _end(shapes: Mapping[str, Any]) -> int:
    return list(_places(shapes).values())[-1].stop


def _packed(looked: Looked, shapes: Mapping[str, Any]) -> np.ndarray:
    content = np.zeros(_end(shapes), np.uint8)
    made = b''.join(looked.made[name].to_bytes(HASH) for name in shapes)
    content[COMPLAINT : COMPLAINT + len(made)] = np.frombuffer(made, np.uint8)
    for name, place in _places(shapes).items():
        content[place] = np.ascontiguousarray(looked.arrays[name]).reshape(-1).view(np.uint8)
    return content


def _complaint(error: Exception, size: int) -> np.ndarray:
    text = MISTAKE * isinstance(error, UserError) + _words(error).encode(errors='replace')
    content = np.zeros(size, np.uint8)
    content[: min(len(text), COMPLAINT)] = np.frombuffer(text[:COMPLAINT], np.uint8)
    return content


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else reason_of(error)


def _raise(content: np.ndarray) -> None:
    """What another process complained of."""
    complaint = content[:COMPLAINT].tobytes().rstrip(b'\0')
    if complaint:
        text = complaint.removeprefix(MISTAKE).decode(errors='replace')
        raise UserError(text) if complaint.startswith(MISTAKE) else ValueError(text)


def _unpacked(content: np.ndarray, shapes: Mapping[str, Any]) -> Looked:
    """Views of the bytes; what another process complained of is raised."""
    _raise(content)
    made = content[COMPLAINT : COMPLAINT + HASH * len(shapes)].tobytes()
    return Looked(
        {
            name: content[place].view(shapes[name].dtype).reshape(shapes[name].shape)
            for name, place in _places(shapes).items()
        },
        {name: int.from_bytes(made[HASH * n : HASH * (n + 1)]) for n, name in enumerate(shapes)},
    )
