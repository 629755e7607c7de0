"""PyTorch's .pth and .bin files, read without running anything that is in them.

A file is a zip archive (torch 1.6 and newer): `NAME/data.pkl` describes
the tensors, `NAME/data/KEY` are raw bytes. The description is a pickle, which can name any function; so it is read here
by an interpreter of the few opcodes that torch.save writes for tensors in dicts. It builds plain dicts, lists, numbers
and strings, and knows a few names, none of which is ever called: every other opcode or name is refused.
"""

import io
import lzma
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from addsr_jax.errors import UserError, printable
from addsr_jax.weights.stored import Stored
from addsr_jax.weights.torch_archive import Archive, Refused

STORAGES = {
    'torch DoubleStorage': np.dtype(np.float64),
    'torch FloatStorage': np.dtype(np.float32),
    'torch HalfStorage': np.dtype(np.float16),
    'torch BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
    'torch LongStorage': np.dtype(np.int64),
    'torch IntStorage': np.dtype(np.int32),
    'torch ShortStorage': np.dtype(np.int16),
    'torch CharStorage': np.dtype(np.int8),
    'torch ByteStorage': np.dtype(np.uint8),
    'torch BoolStorage': np.dtype(np.bool_),
}
ORDERED_DICT = 'collections OrderedDict'
TENSOR = 'torch._utils _rebuild_tensor_v2'
PARAMETER = 'torch._utils _rebuild_parameter'
NAMES = {ORDERED_DICT, TENSOR, PARAMETER, *STORAGES}
ENTRY = b'PK\x03\x04'  # first bytes of an archive
LARGEST_DESCRIPTION = 16 << 20  # bytes of data.pkl; RAM's, with 1,000 tensors, takes 0.3 MB
MOST_STEPS = 300_000  # opcodes of a description; thirty for a tensor
LARGEST_KEY = 1 << 31  # of a dict whose keys are numbers: larger ones can be chosen to share one hash, all of them
DEEPEST = 32  # dicts inside dicts
MOST_AXES = 32  # of a tensor
# whatever zipfile and the decompressors behind it raise at bytes that they do not understand
DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    struct.error,
    ValueError,
    KeyError,
    OSError,
    NotImplementedError,
    RuntimeError,
    IndexError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle names."""

    text: str


@dataclass(frozen=True)
class Storage:
    dtype: np.dtype
    key: str
    size: int  # elements


@dataclass(frozen=True)
class View:
    """A tensor: which part of a storage, in which order."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, Any]:
    """The dict in a file, its tensors as `Stored`; a UserError names the file and what is wrong with it."""
    try:
        archive = Archive(path)
    except Refused as error:
        raise UserError(f'{path} cannot be trusted or read: {error}') from error
    except DAMAGES as error:
        if _begins_as_archive(path):
            raise UserError(f'{path} is cut off or damaged: download it again') from error
        raise UserError(
            f'{path} is no archive of torch.save ({printable(str(error))}): download it again, or, if it is older than '
            'torch 1.6, open it in torch and save it once more'
        ) from error
    with _of(path):
        root = _root(archive.file)
        content = parse(_limited(archive.file, f'{root}/data.pkl'))
        if not isinstance(content, dict):
            raise Refused(f'it holds {type(content).__name__}, not a dict')
        return _with_readers(content, partial(_tensor, archive, root))


def _begins_as_archive(path: Path) -> bool:
    try:
        with path.open('rb') as file:
            return file.read(4) == ENTRY
    except OSError:
        return False


@contextmanager
def _of(path: Path) -> Iterator[None]:
    """What is wrong inside becomes one UserError with the file's name."""
    try:
        yield
    except DAMAGES as error:
        raise UserError(f'{path} cannot be trusted or read: {printable(str(error))}') from error


def _root(archive: zipfile.ZipFile) -> str:
    roots = [name.removesuffix('/data.pkl') for name in archive.namelist() if name.endswith('/data.pkl')]
    if len(roots) != 1:
        raise Refused(f'it has {len(roots)} entries data.pkl, not one')
    order = f'{roots[0]}/byteorder'
    if order in archive.namelist() and (archive.getinfo(order).file_size != 6 or archive.read(order) != b'little'):
        raise Refused('its byte order is not little')
    return roots[0]


def _limited(archive: zipfile.ZipFile, name: str) -> bytes:
    size = archive.getinfo(name).file_size
    if size > LARGEST_DESCRIPTION:
        raise Refused(f'{name} has {size} bytes, far more than a description of tensors needs')
    with archive.open(name) as file:
        return file.read(size)  # no more than it says, whatever is packed in there


def _with_readers(content: dict[Any, Any], tensor: Callable[[View], Stored]) -> dict[Any, Any]:
    """Views as `Stored`, each dict and each tensor once, however often the description repeats it."""
    done: dict[int, Any] = {}

    def walk(value: Any, depth: int) -> Any:
        if not isinstance(value, dict | View):
            return value
        if depth > DEEPEST:
            raise Refused(f'it has more than {DEEPEST} dicts inside dicts')
        if id(value) not in done:
            done[id(value)] = {}  # of a dict that holds itself
            items = value.items() if isinstance(value, dict) else ()
            found = tensor(value) if isinstance(value, View) else {key: walk(part, depth + 1) for key, part in items}
            done[id(value)] = found
        return done[id(value)]

    return walk(content, 0)


def _tensor(archive: Archive, root: str, view: View) -> Stored:
    """Checked against the size of its entry before anything is read."""
    entry = f'{root}/data/{view.storage.key}'
    info, wanted = archive.file.getinfo(entry), view.storage.size * view.storage.dtype.itemsize
    plain = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size and not info.flag_bits & 1
    if info.file_size != wanted or not plain:
        raise Refused(f'{entry} has {info.file_size} bytes (its tensor wants {wanted}), or is compressed or encrypted')

    archive.used(entry)

    def load() -> np.ndarray:
        try:
            flat = np.frombuffer(archive.storage(entry), view.storage.dtype)
        except DAMAGES as error:
            raise Refused(str(error)) from error
        strides = tuple(s * view.storage.dtype.itemsize for s in view.strides)
        seen = np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)
        return np.ascontiguousarray(seen)

    return Stored(view.shape, view.storage.dtype, load)


def parse(pickled: bytes, opcodes: 'Mapping[str, Step] | None' = None) -> Any:
    """Dicts, lists, tuples, numbers, strings and views; `Refused` for everything else.

    opcodes: what may stand in the description, where that is not what torch.save writes.
    """
    allowed = OPCODES if opcodes is None else opcodes
    machine = Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(pickled))):
            if count == MOST_STEPS:
                raise Refused(f'its description has more than {MOST_STEPS} steps')
            step = allowed.get(opcode.name)
            if step is None:
                raise Refused(f'opcode {opcode.name} has no place in a file of tensors')
            step(machine, argument)
            if machine.done:
                return machine.result
    except Refused:
        raise
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise Refused(f'its description is damaged ({type(error).__name__})') from error
    raise Refused('its description has no end')


class Machine:
    """Stack and memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}
        self.done = False
        self.result: Any = None

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if self.marks and self.marks[-1] == len(self.stack):
            raise Refused('its description is damaged (unexpected mark)')
        return self.stack.pop()

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def since_mark(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        at = self.marks.pop()
        above = self.stack[at:]
        del self.stack[at:]
        return above

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise Refused(f'{type(self.stack[-1]).__name__} stands where {kind.__name__} has to')
        return self.stack[-1]


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top(dict)
    keys, values = items[::2], items[1::2]
    for key, value in zip(keys, values, strict=True):
        if not isinstance(key, str | int):
            raise Refused(f'a key is {type(key).__name__}, not text')
        if isinstance(key, int) and abs(key) >= LARGEST_KEY:
            raise Refused('a key is a number that no index needs')
        if key in target:
            raise Refused(f'{printable(str(key))} occurs twice')
        target[key] = value


def _tuple(count: int) -> Callable[[Machine, Any], None]:
    def step(machine: Machine, argument: Any) -> None:
        machine.push(tuple([machine.pop() for _ in range(count)][::-1]))

    return step


def _named(machine: Machine, argument: str) -> None:
    if argument not in NAMES:
        raise Refused(f'it asks for {argument.replace(" ", ".")}, which is no part of a tensor')
    machine.push(Name(argument))


def _named_from_stack(machine: Machine, argument: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise Refused('it asks for a name that is no text')
    _named(machine, f'{module} {name}')


def _storage(machine: Machine, argument: Any) -> None:
    kind, name, key, _, size = machine.pop()
    dtype = STORAGES.get(name.text) if isinstance(name, Name) else None
    known = isinstance(kind, str) and kind == 'storage' and isinstance(key, str) and key.isascii() and key.isdigit()
    if not known or dtype is None or not _count(size):
        raise Refused('it asks for something that is no storage of numbers')
    machine.push(Storage(dtype, key, size))


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _call(machine: Machine, argument: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise Refused('it calls something that is no part of a tensor')
    if function.text == ORDERED_DICT and not arguments:
        machine.push({})
    elif function.text == TENSOR:
        machine.push(_view(*arguments[:4]))
    elif function.text == PARAMETER and isinstance(arguments[0], View):
        machine.push(arguments[0])
    else:
        raise Refused(f'it calls {function.text.replace(" ", ".")} in a way that torch.save does not')


def _view(storage: Any, offset: Any, shape: Any, strides: Any) -> View:
    counts = (offset, *shape, *strides)
    fits = isinstance(storage, Storage) and len(shape) == len(strides) <= MOST_AXES
    if not fits or not all(map(_count, counts)):
        raise Refused('a tensor has impossible sizes')
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or (math.prod(shape) and last >= storage.size):
        raise Refused(f'a tensor of shape {list(shape)} reaches beyond its {storage.size} numbers')
    return View(storage, offset, tuple(shape), tuple(strides))


def _build(machine: Machine, argument: Any) -> None:
    machine.pop()  # attributes of an OrderedDict (`_metadata`): versions of modules, which nobody needs
    machine.top(dict)


def _remember(machine: Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else argument] = machine.stack[-1]


def _append(machine: Machine, values: list[Any]) -> None:
    machine.top(list).extend(values)


def _stop(machine: Machine, argument: Any) -> None:
    machine.result, machine.done = machine.pop(), True


def _literal(machine: Machine, argument: Any) -> None:
    machine.push(argument)


def _ignored(machine: Machine, argument: Any) -> None:
    pass


def _set_item(machine: Machine, argument: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _append_one(machine: Machine, argument: Any) -> None:
    value = machine.pop()
    _append(machine, [value])


Step = Callable[[Machine, Any], None]

OPCODES: dict[str, Step] = {
    **dict.fromkeys(('PROTO', 'FRAME'), _ignored),
    **dict.fromkeys(('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE'), _literal),
    'NONE': lambda m, a: m.push(None),
    'NEWTRUE': lambda m, a: m.push(True),
    'NEWFALSE': lambda m, a: m.push(False),
    'MARK': lambda m, a: m.mark(),
    'EMPTY_DICT': lambda m, a: m.push({}),
    'EMPTY_LIST': lambda m, a: m.push([]),
    'EMPTY_TUPLE': lambda m, a: m.push(()),
    'TUPLE': lambda m, a: m.push(tuple(m.since_mark())),
    'TUPLE1': _tuple(1),
    'TUPLE2': _tuple(2),
    'TUPLE3': _tuple(3),
    'BINPUT': _remember,
    'LONG_BINPUT': _remember,
    'MEMOIZE': _remember,
    'BINGET': lambda m, a: m.push(m.memo[a]),
    'LONG_BINGET': lambda m, a: m.push(m.memo[a]),
    'GLOBAL': _named,
    'STACK_GLOBAL': _named_from_stack,
    'BINPERSID': _storage,
    'REDUCE': _call,
    'BUILD': _build,
    'SETITEM': _set_item,
    'SETITEMS': lambda m, a: _set_items(m, m.since_mark()),
    'APPEND': _append_one,
    'APPENDS': lambda m, a: _append(m, m.since_mark()),
    'STOP': _stop,
}
