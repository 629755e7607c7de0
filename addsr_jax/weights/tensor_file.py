"""Safetensors files that we write: their metadata holds a hash of every tensor, which `weights.reader` checks."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import attempts, hashes, json_file, places
from addsr_jax.errors import UserError


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """As libraries of PyTorch read it; folders are made."""
    from safetensors.numpy import save_file

    made = {name: hashes.text(hashes.of_array(name, tensor)) for name, tensor in tensors.items()}
    metadata = {'format': 'pt', hashes.NAME: json.dumps(made)}
    save = partial(save_file, dict(tensors), metadata=metadata)
    places.write_here(path, lambda here: attempts.write(partial(save, here)))


def written(path: Path, metadata: Mapping[str, str] | None, names: set[str]) -> dict[str, Any]:
    """{tensor: hash} of a file whose tensors are `names`; empty where another library wrote it."""
    if not metadata or hashes.NAME not in metadata:
        return {}
    try:
        made = json_file.of_text(metadata[hashes.NAME])
    except ValueError as error:
        raise UserError(f'{path} is damaged: its hashes cannot be read; copy it again') from error
    if set(made) != names:
        raise UserError(f'{path} is damaged: it names other tensors than were written; copy it again')
    return made


def check(path: Path, made: Mapping[str, Any], name: str, tensor: np.ndarray) -> None:
    """A UserError where a tensor is not the one that was written."""
    if made and made[name] != hashes.text(hashes.of_array(name, tensor)):
        raise UserError(f'{path} is damaged: {name} is not what was written; copy it again')
