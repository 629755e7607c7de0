"""Opens what PyTorch users have: a .safetensors, .bin or .pth file, or a folder of them with its index."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from addsr_jax import json_file
from addsr_jax.errors import UserError
from addsr_jax.weights import tensor_file, torch_pickle
from addsr_jax.weights.stored import Stored


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
    if not path.is_file():
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

    try:
        with safe_open(path, framework='numpy') as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, it is no dict
            made = tensor_file.written(path, file.metadata(), set(slices))
            return {
                name: Stored(tuple(part.get_shape()), _dtype(path, part.get_dtype()), lambda name=name: load(name))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} cannot be read ({error}): download it again') from error


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
    try:
        listed = json_file.read(index, 'download it again')['weight_map']
        files = sorted(set(listed.values()))
    except (KeyError, AttributeError, TypeError) as error:
        raise UserError(f'{index} is no index of tensors: download it again') from error
    found: dict[str, Stored] = {}
    for name in files:
        if Path(name).name != name:
            raise UserError(f'{index} names {name}, which is no file beside it')
        for tensor, stored in open_file(index.parent / name).items():
            if tensor in found:
                raise UserError(f'{index.parent} holds {tensor} twice, in {name} and an earlier file')
            found[tensor] = stored
    missing = sorted(set(listed) - set(found))
    if missing:
        raise UserError(f'{index} lists {", ".join(missing[:8])}, which its files do not hold')
    return found
