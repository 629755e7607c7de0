"""What one process has read, handed to the others as bytes: tensors and hashes, or what was wrong."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from addsr_jax import processes
from addsr_jax.attempts import reason_of
from addsr_jax.errors import UserError

COMPLAINT = 1024  # bytes for what was wrong, before everything else: zeros where nothing was
MISTAKE = b'!'  # before a complaint that was a UserError
HASH = 16  # bytes
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


def together(look: Callable[[], Mapping[str, int]], names: Sequence[str]) -> dict[str, int]:
    """For every name the sum of what `look` finds at all processes, which ask together.

    What it raises anywhere is raised everywhere.
    """
    failed, content = None, np.zeros(COMPLAINT, np.uint8)
    try:
        found = look()
        content = np.concatenate([content, _hashes(found, names)])
    except Exception as error:  # the others wait for an answer
        failed, content = error, _complaint(error, COMPLAINT + HASH * len(names))
    everyone = processes.from_all(content)
    if failed is not None:
        raise failed
    for given in everyone:
        _raise(given)
    sums = [sum(numbers) for numbers in zip(*(_numbers(given, len(names)) for given in everyone), strict=True)]
    return dict(zip(names, sums, strict=True))


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
    content[COMPLAINT : COMPLAINT + HASH * len(shapes)] = _hashes(looked.made, list(shapes))
    for name, place in _places(shapes).items():
        content[place] = np.ascontiguousarray(looked.arrays[name]).reshape(-1).view(np.uint8)
    return content


def _hashes(made: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    return np.frombuffer(b''.join((made[name] % 2 ** (8 * HASH)).to_bytes(HASH) for name in names), np.uint8)


def _numbers(content: np.ndarray, count: int) -> list[int]:
    """The hashes behind what may be a complaint."""
    made = content[COMPLAINT : COMPLAINT + HASH * count].tobytes()
    return [int.from_bytes(made[HASH * n : HASH * (n + 1)]) for n in range(count)]


def _complaint(error: Exception, size: int) -> np.ndarray:
    text = MISTAKE + str(error).encode() if isinstance(error, UserError) else reason_of(error).encode()
    content = np.zeros(size, np.uint8)
    content[: min(len(text), COMPLAINT)] = np.frombuffer(text[:COMPLAINT], np.uint8)
    return content


def _raise(content: np.ndarray) -> None:
    """What another process complained of."""
    complaint = content[:COMPLAINT].tobytes().rstrip(b'\0')
    if complaint:
        text = complaint.removeprefix(MISTAKE).decode(errors='replace')
        raise UserError(text) if complaint.startswith(MISTAKE) else ValueError(text)


def _unpacked(content: np.ndarray, shapes: Mapping[str, Any]) -> Looked:
    """Views of the bytes; what another process complained of is raised."""
    _raise(content)
    return Looked(
        {
            name: content[place].view(shapes[name].dtype).reshape(shapes[name].shape)
            for name, place in _places(shapes).items()
        },
        dict(zip(shapes, _numbers(content, len(shapes)), strict=True)),
    )
