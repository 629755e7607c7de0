"""Opens what PyTorch users have: a .safetensors, .bin, .pth or .ckpt file, or a folder of them with its index."""

import re
from pathlib import Path

import numpy as np

from addsr_jax import json_file, options, places
from addsr_jax.errors import UserError, printable
from addsr_jax.weights import tensor_file, torch_pickle, wrappers
from addsr_jax.weights.stored import Stored
from addsr_jax.weights.wrappers import Say

LARGEST_HEADER = 4 << 20  # bytes of a .safetensors file that name its tensors; a hundred for each
FIRST = 64  # bytes that tell kinds of files apart
SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt', '.ckpt')
VARIANTS = ('', 'fp16', 'bf16')  # of the same numbers, the most exact ones first
ZIP = b'PK'  # first bytes of what torch.save writes
# First bytes, in small letters, of what lies in a file's place where a download went wrong, and what it is.
INSTEAD = (
    (
        b'version https://git-lfs',
        'a pointer of git-LFS and not the file: run git lfs pull',
    ),
    (b'<!doctype', 'a web page and not the file: download the file itself'),
    (b'<html', 'a web page and not the file: download the file itself'),
)
SHARD = re.compile(r'.*-\d+-of-(\d+)\..*')


def open_path(path: Path, stems: tuple[str, ...], say: Say = wrappers.quiet) -> dict[str, Stored]:
    """Tensors of a folder (`open_folder`) or of a file (`open_file`), whichever it is."""
    return open_folder(path, stems, say) if places.kind(path) == 'folder' else open_file(path, say)


def open_folder(folder: Path, stems: tuple[str, ...], say: Say = wrappers.quiet) -> dict[str, Stored]:
    """Tensors of a network's folder as diffusers and transformers write it, or of the one file that lies in it.

    stems: file names without suffix, the preferred ones first. Each may be one .safetensors file, or .bin, or several
    with an index; of a variant for half precision too. say: gets a line on all that is taken off or left.
    """
    if not folder.is_dir():
        raise UserError(f'{folder} is no folder')
    for variant in VARIANTS:
        for stem in stems:
            for suffix in ('.safetensors', '.bin'):
                for index in _indices(folder, stem, variant, suffix):
                    if index.exists():
                        return _open_shards(index, say)
                if (file := folder / f'{stem}{variant and f".{variant}"}{suffix}').exists():
                    return open_file(file, say)
    return open_file(_only_file(folder, stems), say)


def _indices(folder: Path, stem: str, variant: str, suffix: str) -> list[Path]:
    """Where the index of shards may be: libraries put a variant's name behind 'index', early ones before the suffix."""
    names = [f'{stem}{suffix}.index{variant and f".{variant}"}.json']
    return [folder / name for name in (*names, *([f'{stem}.{variant}{suffix}.index.json'] if variant else []))]


def _only_file(folder: Path, stems: tuple[str, ...]) -> Path:
    """The one file of tensors in a folder; a UserError says what lies there instead."""
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(files) == 1 and SHARD.fullmatch(files[0].name) is None:
        return files[0]
    expected = f'expected {stems[0]}.safetensors or {stems[-1]}.bin'
    if files and all(SHARD.fullmatch(path.name) for path in files):
        index = f'{stems[0]}{files[0].suffix}.index.json'
        raise UserError(f'{folder} holds weights in pieces and no {index}: download it too')
    named = ', '.join(printable(path.name) for path in files[:4])
    raise UserError(f'{folder} holds {f"several files of tensors ({named})" if files else "no weights"}: {expected}')


def open_file(path: Path, say: Say = wrappers.quiet) -> dict[str, Stored]:
    """Tensors of one .safetensors, .bin, .pth or .ckpt file, or of a folder that holds no other.

    What trainers put around them is taken off (`weights.wrappers`). say: gets a line on all that is taken off or left.
    """
    if places.kind(path) == 'folder':
        file = _only_file(path, ('model',))
        say(f'{path}: a folder, of which {file.name} is read')
        path = file
    return wrappers.plain(_open_tensors(path, say), path, say)


def _open_tensors(path: Path, say: Say) -> dict[str, Stored]:
    """Of one file, under the names that it has for them."""
    if _is_safetensors(path):
        found = _open_safetensors(path)
    else:
        content = wrappers.inner(torch_pickle.read(path), path, say)
        found = {name: value for name, value in content.items() if isinstance(value, Stored)}
    if strange := next((name for name in found if not isinstance(name, str)), None):
        raise UserError(f'{path} names a tensor {strange}: names are text')
    if not found:
        raise UserError(f'{path} holds no tensors')
    return found


def _is_safetensors(path: Path) -> bool:
    """By its content; a damaged file by its name."""
    first = _first_bytes(path)
    return not first.startswith(ZIP) and (path.suffix == '.safetensors' or first[8:].startswith(b'{'))


def _first_bytes(path: Path) -> bytes:
    """What tells kinds of files apart, whatever their names."""
    try:
        there = path.is_file()
    except OSError as error:  # a name that is too long for a disk
        raise UserError(f'{printable(str(path))} cannot be opened: {error.strerror}') from error
    if not there:
        raise UserError(f'{path} does not exist')
    try:
        with path.open('rb') as file:
            first = file.read(FIRST)
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}): download it again') from error
    for start, what in INSTEAD:
        if first.lstrip().lower().startswith(start):
            raise UserError(f'{path} is {what}')
    return first


def metadata(path: Path) -> dict[str, str]:
    """The notes in a .safetensors file; {} where there are none, or in another file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file() or not _is_safetensors(path):
        return {}
    check_header(path)
    try:
        with safe_open(path, framework='numpy') as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} cannot be read ({printable(str(error))}): download it again') from error


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


def read_tensor(path: Path, name: str, stored: Stored) -> np.ndarray:
    """The numbers of one tensor of a file; a UserError where they are damaged."""
    from safetensors import SafetensorError

    try:
        return stored.read()
    except (SafetensorError, *torch_pickle.DAMAGES) as error:
        reason = printable(str(error)) or type(error).__name__
        raise UserError(f'{path}: {printable(name)} cannot be read ({reason}): download it again') from error


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


def _open_shards(index: Path, say: Say) -> dict[str, Stored]:
    content = json_file.read(index, 'download it again').get('weight_map')
    listed = options.typed(dict[str, str], content, f'weight_map of {index}')
    if not listed:
        raise UserError(f'{index} is empty: it lists no tensors; download it again')
    found: dict[str, Stored] = {}
    for name in sorted(set(listed.values())):
        if Path(name).name != name or not name.endswith(('.safetensors', '.bin')):
            raise UserError(f'{index} names {printable(name)}, which is no .safetensors or .bin file beside it')
        if places.kind(index.parent / name) != 'file':
            raise UserError(f'{index} names {printable(name)}, which is not there: download all of its files')
        for tensor, stored in _open_tensors(index.parent / name, say).items():
            if tensor in found:
                raise UserError(f'{index.parent} holds {printable(tensor)} twice, in {name} and an earlier file')
            found[tensor] = stored
    missing = sorted(set(listed) - set(found))
    if missing:
        raise UserError(f'{index} lists {printable(", ".join(missing[:8]))}, which its files do not hold')
    return wrappers.plain(found, index, say)
