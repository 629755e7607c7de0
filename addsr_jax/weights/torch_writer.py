"""Files of tensors as torch.save writes them, for those who go back to torch."""

import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax.weights.torch_pickle import ORDERED_DICT, STORAGES, TENSOR


def write(path: Path, content: Mapping[str, Any]) -> None:
    """A dict of arrays, or of such dicts, as torch.load (weights_only) reads it."""
    arrays: list[np.ndarray] = []
    description = pickle.PROTO + b'\x02' + _described(content, arrays) + pickle.STOP
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        archive.writestr(f'{path.stem}/data.pkl', description)
        archive.writestr(f'{path.stem}/byteorder', 'little')
        for i, array in enumerate(arrays):
            archive.writestr(f'{path.stem}/data/{i}', array.tobytes())
        archive.writestr(f'{path.stem}/version', '3\n')


def _described(value: Any, arrays: list[np.ndarray]) -> bytes:
    """Opcodes of a dict, an array (which goes to `arrays`), a number or text."""
    if isinstance(value, Mapping):
        items = b''.join(_described(part, arrays) for pair in value.items() for part in pair)
        return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
    if isinstance(value, np.ndarray):
        return _described_array(value, arrays)
    if isinstance(value, str):
        encoded = value.encode()
        return pickle.BINUNICODE + struct.pack('<I', len(encoded)) + encoded
    if isinstance(value, int):
        return pickle.LONG1 + bytes((8,)) + struct.pack('<q', value)
    raise TypeError(f'{type(value).__name__} has no place in a file of tensors')


def _described_array(array: np.ndarray, arrays: list[np.ndarray]) -> bytes:
    def name(text: str) -> bytes:
        module, attribute = text.split(' ')
        return pickle.GLOBAL + f'{module}\n{attribute}\n'.encode()

    def group(*parts: bytes) -> bytes:
        return pickle.MARK + b''.join(parts) + pickle.TUPLE

    kind = next(text for text, dtype in STORAGES.items() if dtype == array.dtype)
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    key, size = str(len(arrays)), array.size
    arrays.append(array)
    words = [_described(word, arrays) for word in ('storage', key, 'cpu', size)]
    storage = group(words[0], name(kind), *words[1:]) + pickle.BINPERSID
    shape, steps = (group(*(_described(n, arrays) for n in numbers)) for numbers in (array.shape, strides))
    hooks = name(ORDERED_DICT) + pickle.EMPTY_TUPLE + pickle.REDUCE
    view = group(storage, _described(0, arrays), shape, steps, pickle.NEWFALSE, hooks)
    return name(TENSOR) + view + pickle.REDUCE
