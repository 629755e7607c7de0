"""Opens what PyTorch users have: a .safetensors, .bin or .pth file, or a folder of them with its index."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import json_file, options, places
from addsr_jax.errors import UserError, printable
from addsr_jax.weights import tensor_file, torch_pickle
from addsr_jax.weights.stored import Stored

LARGEST_HEADER = 4 << 20  # bytes of a .safetensors file that name its tensors; a hundred for each


def open_folder(folder: Path, stems: tuple[str, ...]) -> dict[str, Stored]:
    """Tensors of a network's folder as diffusers and transformers write it.

    stems: file names without suffix, the preferred ones first. Each may be one .safetensors file, several with an
    index, or .bin; of `STEM.fp16.*` too.
    """
    if not folder.is_dir():
        raise UserError(f'{folder} is no folder')
    for name in (f'{stem}{variant}' for variant in ('', '.fp16') for stem in stems):
        index = folder / f'{name}.safetensors.index.json'
        if index.exists():
            return _open_shards(index)
        for suffix in ('.safetensors', '.bin'):
            if (folder / f'{name}{suffix}').exists():
                return open_file(folder / f'{name}{suffix}')
    raise UserError(f'{folder} holds no weights: expected {stems[0]}.safetensors or {stems[-1]}.bin')


def open_file(path: Path) -> dict[str, Stored]:
    """Tensors of one .safetensors, .bin or .pth file; a dict inside under 'model' or 'state_dict' is taken out."""
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long for a disk
        raise UserError(f'{printable(str(path))} cannot be opened: {error.strerror}') from error
    if not there:
        raise UserError(f'{path} does not exist')
    if path.suffix == '.safetensors':
        return _open_safetensors(path)
    content: Mapping[Any, Any] = torch_pickle.read(path)
    for wrapper in ('model', 'state_dict'):
        inner = content.get(wrapper)
        content = inner if isinstance(inner, dict) else content
    found = {name: value for name, value in content.items() if isinstance(value, Stored)}
    if strange := next((name for name in found if not isinstance(name, str)), None):
        raise UserError(f'{path} names a tensor {strange}: names are text')
    if not found:
        raise UserError(f'{path} holds no tensors')
    return found


def _open_safetensors(path: Path) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    def load(name: str) -> np.ndarray:
        with safe_open(path, framework='numpy') as file:
            tensor = file.get_tensor(name)
        tensor_file.check(path, made, name, tensor)
        return tensor

    check_header(path)
    try:
        with safe_open(path, framework='numpy') as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            made = tensor_file.written(path, file.metadata(), set(slices))
            return {
                name: Stored(tuple(part.get_shape()), _dtype(path, part.get_dtype()), lambda name=name: load(name))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): download it again') from error


def check_header(path: Path) -> None:
    """A UserError where the part of a .safetensors file that names its tensors is larger than any model's."""
    if places.kind(path) == 'other':
        raise UserError(f'{path} cannot be read (it is no regular file): download it again')
    try:
        with path.open('rb') as file:
            size = int.from_bytes(file.read(8), 'little')
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): download it again') from error
    if size > LARGEST_HEADER:
        raise UserError(f'{path} says that its header has {size} bytes, more than {LARGEST_HEADER}: download it again')


def _dtype(path: Path, name: str) -> np.dtype:
    import ml_dtypes

    known = {
        'F64': np.float64,
        'F32': np.float32,
        'F16': np.float16,
        'BF16': ml_dtypes.bfloat16,
        'I64': np.int64,
        'I32': np.int32,
        'I16': np.int16,
        'I8': np.int8,
        'U8': np.uint8,
        'BOOL': np.bool_,
    }
    if name not in known:
        raise UserError(f'{path} holds a tensor of type {name}: only {", ".join(known)} can be read')
    return np.dtype(known[name])


def _open_shards(index: Path) -> dict[str, Stored]:
    content = json_file.read(index, 'download it again').get('weight_map')
    listed = options.typed(dict[str, str], content, f'weight_map of {index}')
    found: dict[str, Stored] = {}
    for name in sorted(set(listed.values())):
        if Path(name).name != name or not name.endswith('.safetensors'):
            raise UserError(f'{index} names {printable(name)}, which is no .safetensors file beside it')
        for tensor, stored in open_file(index.parent / name).items():
            if tensor in found:
                raise UserError(f'{index.parent} holds {printable(tensor)} twice, in {name} and an earlier file')
            found[tensor] = stored
    missing = sorted(set(listed) - set(found))
    if missing:
        raise UserError(f'{index} lists {printable(", ".join(missing[:8]))}, which its files do not hold')
    return found
