"""Tensors that one process has read, handed to the others as bytes, with their hashes, or with what was wrong."""

from collections.abc import Callable, Mapping
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

    arrays: dict[str, np.ndarray]  # by path
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
            failed, content = error, _complaint(error, shapes)
    given = processes.from_one(content, _end(shapes), giver)
    if failed is not None:
        raise failed
    return _unpacked(given, shapes) if found is None else found


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


def _complaint(error: Exception, shapes: Mapping[str, Any]) -> np.ndarray:
    text = MISTAKE + str(error).encode() if isinstance(error, UserError) else reason_of(error).encode()
    content = np.zeros(_end(shapes), np.uint8)
    content[: min(len(text), COMPLAINT)] = np.frombuffer(text[:COMPLAINT], np.uint8)
    return content


def _unpacked(content: np.ndarray, shapes: Mapping[str, Any]) -> Looked:
    """Views of the bytes; what another process complained of is raised."""
    complaint = content[:COMPLAINT].tobytes().rstrip(b'\0')
    if complaint:
        text = complaint.removeprefix(MISTAKE).decode(errors='replace')
        raise UserError(text) if complaint.startswith(MISTAKE) else ValueError(text)
    made = content[COMPLAINT : COMPLAINT + HASH * len(shapes)].tobytes()
    return Looked(
        {
            name: content[place].view(shapes[name].dtype).reshape(shapes[name].shape)
            for name, place in _places(shapes).items()
        },
        {name: int.from_bytes(made[HASH * n : HASH * (n + 1)]) for n, name in enumerate(shapes)},
    )
