"""Files of weights that ask for more than they are: each a name of a file, and its bytes."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

Maker = Callable[[], bytes]
PRIME = (1 << 61) - 1  # whole numbers that are multiples of it share one hash


def text(words: str | bytes) -> bytes:
    data = words.encode() if isinstance(words, str) else words
    return b'X' + struct.pack('<I', len(data)) + data


def number(value: int) -> bytes:
    return b'\x8a\x08' + struct.pack('<q', value)


def tensor(
    offset: int = 0, shape: tuple[int, ...] = (3, 4), strides: tuple[int, ...] = (4, 1), size: int = 12
) -> bytes:
    """Opcodes of one float tensor in storage 0."""
    storage = b'(' + text('storage') + b'ctorch\nFloatStorage\n' + text('0') + text('cpu') + number(size) + b'tQ'
    view = b'(' + storage + number(offset) + b'(' + b''.join(map(number, shape)) + b't('
    view += b''.join(map(number, strides)) + b't\x89ccollections\nOrderedDict\n)Rt'
    return b'ctorch._utils\n_rebuild_tensor_v2\n' + view + b'R'


def described(items: bytes, protocol: int = 2) -> bytes:
    """A pickle of a dict with these keys and values."""
    return b'\x80' + bytes([protocol]) + b'}(' + items + b'u.'


def archive(description: bytes, *others: tuple[str, bytes], packed: bool = False, root: str = 'archive') -> bytes:
    """What torch.save would have written."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as file:
        file.writestr(f'{root}/data.pkl', description, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
        for name, data in others or ((f'{root}/data/0', bytes(48)),):
            file.writestr(name, data, zipfile.ZIP_DEFLATED if packed and others else zipfile.ZIP_STORED)
    return buffer.getvalue()


def pickles() -> Iterator[tuple[str, Maker]]:
    """Descriptions; each stands in an archive, once plain and once deflated where that makes it smaller."""
    yield 'a million dicts', lambda: b'\x80\x02' + b'}' * 1_000_100 + b'.'
    yield 'a million dicts, remembered', lambda: b'\x80\x04' + b'}\x94' * 499_000 + b'.'
    yield 'tuples in tuples', lambda: b'\x80\x02' + b'}' + b'\x85' * 999_000 + b'.'
    yield 'lists in lists', lambda: b'\x80\x02' + b']' * 400_000 + b'a' * 399_999 + b'.'
    yield (
        'keys of one hash',
        lambda: described(b''.join(b'\x8a\x0b' + (i * PRIME).to_bytes(11, 'little') + b'N' for i in range(1, 100_000))),
    )
    yield (
        'keys of one hash, negative',
        lambda: described(
            b''.join(b'\x8a\x0b' + (-i * PRIME).to_bytes(11, 'little', signed=True) + b'N' for i in range(1, 100_000))
        ),
    )
    yield (
        'numbers of 2040 bits',
        lambda: described(b''.join(b'\x8a\xff' + i.to_bytes(255, 'little') + b'N' for i in range(1, 60_000))),
    )
    yield 'a number as long as the file says', lambda: b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'\x01.'
    yield 'a number of decimal digits', lambda: b'\x80\x02L' + b'9' * 5_000_000 + b'L\n.'
    yield 'an int of decimal digits', lambda: b'\x80\x02I' + b'9' * 5_000_000 + b'\n.'
    yield 'text that says 4 GB', lambda: b'\x80\x02X\xff\xff\xff\xffabc.'
    yield 'text that says 16 exabytes', lambda: b'\x80\x04\x8d' + b'\xff' * 8 + b'abc.'
    yield 'bytes that say 16 exabytes', lambda: b'\x80\x05\x96' + b'\xff' * 8 + b'abc.'
    yield 'a frame that says 16 exabytes', lambda: b'\x80\x04\x95' + b'\xff' * 8 + b'}.'
    yield (
        'a text of 16 MB, pushed half a million times',
        lambda: b'\x80\x04' + text(bytes(15 << 20)) + b'\x94' + b'h\x00' * 250_000 + b'.',
    )
    yield 'names of 15 MB each', lambda: b'\x80\x04' + text('a' * (15 << 20)) + b'\x94h\x00\x93.'
    yield 'a name of 15 MB', lambda: b'\x80\x02c' + b'a' * (15 << 20) + b'\nb\n.'
    yield 'a key of 15 MB', lambda: described(text('a' * (15 << 20)) + tensor())
    yield 'a key of 15 MB twice', lambda: described(text('a' * (7 << 20)) + b'N' + text('a' * (7 << 20)) + b'N')
    yield 'wide letters', lambda: described(text('\U0001f600' * (3 << 20)) + tensor())
    yield 'surrogates', lambda: described(text(b'\xed\xa0\x80') + tensor())
    yield 'escape codes in a key', lambda: described(text('\x1b[2J\x07\n\u202e') + tensor())
    yield 'escape codes in a name', lambda: b'\x80\x02c\x1b[2J\nb\x07\n.'
    yield 'half a million names', lambda: b'\x80\x02' + b'ctorch\nFloatStorage\n' * 500_000 + b'.'
    yield (
        'places of the memo far apart',
        lambda: b'\x80\x02}' + b''.join(b'r' + struct.pack('<I', i * 4093) for i in range(999_000)) + b'.',
    )
    yield 'a memo that is not there', lambda: b'\x80\x02}j\xff\xff\xff\xff.'
    yield 'a dict that holds itself', lambda: b'\x80\x02}q\x00' + text('a') + b'h\x00s.'
    yield 'a list that holds itself', lambda: b'\x80\x02]q\x00h\x00a.'
    yield (
        'a hundred thousand tensors',
        lambda: described(text('a') + tensor() + b'q\x01' + b''.join(text(str(i)) + b'h\x01' for i in range(100_000))),
    )
    yield (
        'a shape of a million axes',
        lambda: described(text('a') + tensor(shape=(1,) * 300_000, strides=(0,) * 300_000)),
    )
    yield (
        'a shape that is empty and huge',
        lambda: described(text('a') + tensor(shape=(0, *(1 << 39,) * 20_000), strides=(0,) * 20_001)),
    )
    yield (
        'a shape whose product never ends',
        lambda: described(text('a') + tensor(shape=((1 << 39) - 1,) * 200_000, strides=(0,) * 200_000)),
    )
    yield 'strides beyond the storage', lambda: described(text('a') + tensor(strides=(1 << 39, 1 << 39)))
    yield 'a negative size', lambda: described(text('a') + tensor(size=-12))
    yield 'a storage of a terabyte', lambda: described(text('a') + tensor(size=1 << 39))
    yield 'old opcodes', lambda: b"(dp0\nS'a'\np1\nI1\ns."
    yield 'protocol 0 that calls', lambda: b"cos\nsystem\n(S'touch EXECUTED'\ntR."
    yield 'protocol 1, INST', lambda: b"(S'touch EXECUTED'\nios\nsystem\n."
    yield 'protocol 2, NEWOBJ', lambda: b'\x80\x02csubprocess\nPopen\n' + text('touch') + b'\x85\x81.'
    yield 'protocol 3, BINBYTES', lambda: b'\x80\x03B\x03\x00\x00\x00abc.'
    yield 'protocol 4, sets', lambda: b'\x80\x04' + b'\x8f(' + b'K\x01' * 1000 + b'\x90.'
    yield 'protocol 4, NEWOBJ_EX', lambda: b'\x80\x04cbuiltins\nexec\n' + text('1') + b'\x85}\x92.'
    yield 'protocol 5, out-of-band buffers', lambda: b'\x80\x05\x97\x98.'
    yield 'protocol 255', lambda: b'\x80\xff}.'
    yield 'extension codes', lambda: b'\x80\x02\x82\x01.'
    yield 'a persistent id in text', lambda: b'\x80\x02Pstorage\n.'
    yield 'getattr of a storage', lambda: b'\x80\x02cbuiltins\ngetattr\n' + text('a') + text('b') + b'\x86R.'
    yield 'torch._utils and more', lambda: b'\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.'
    yield 'nothing', lambda: b''
    yield 'only marks', lambda: b'\x80\x02' + b'(' * 1_000_000
    yield 'pops of nothing', lambda: b'\x80\x02' + b'0' * 1_000_000
    yield 'a BUILD of a tensor', lambda: described(text('a') + tensor() + b'}b')


def archives() -> Iterator[tuple[str, Maker]]:
    """Archives that lie."""
    plain = described(text('a') + tensor())
    yield 'a description of 1 GB, deflated', lambda: archive(bytes(1 << 28) + plain, packed=True)
    yield 'a description of 16 MB, deflated', lambda: archive(b'\x80\x02' + b'}' * ((16 << 20) - 3) + b'.', packed=True)
    yield (
        'a byte order of 1 GB',
        lambda: archive(plain, ('archive/byteorder', bytes(1 << 28)), ('archive/data/0', bytes(48)), packed=True),
    )
    yield 'tensors deflated', lambda: archive(plain, ('archive/data/0', bytes(1 << 28)), packed=True)
    yield 'two descriptions', lambda: archive(plain, ('b/data.pkl', plain))
    yield 'one name twice', lambda: _quietly(lambda: archive(plain, ('archive/data.pkl', b'}.')))
    yield (
        'one tensor twice',
        lambda: _quietly(lambda: archive(plain, ('archive/data/0', bytes(48)), ('archive/data/0', bytes(44)))),
    )
    yield (
        'a hundred thousand entries',
        lambda: archive(plain, *((f'archive/data/{i}', b'') for i in range(60_000)), ('archive/data/0x', bytes(48))),
    )
    yield 'names that climb', lambda: archive(plain, ('archive/data/../../../../etc/passwd', bytes(48)))
    yield 'an archive inside', lambda: archive(plain, ('archive/data/0', archive(plain)))
    yield 'a quine of a name', lambda: archive(plain, root='\x1b[2J\n' * 1000)
    yield 'sizes that lie', lambda: _patched(archive(plain), b'PK\x01\x02', 20, struct.pack('<II', 48, 1 << 30))
    yield 'sizes of 4 GB without zip64', lambda: _patched(archive(plain), b'PK\x01\x02', 20, b'\xff' * 8)
    yield 'stored and said to be deflated', lambda: _patched(archive(plain), b'PK\x01\x02', 10, b'\x08\x00')
    yield 'bzip2', lambda: _patched(archive(plain), b'PK\x01\x02', 10, b'\x0c\x00')
    yield (
        'lzma',
        lambda: _patched(_patched(archive(plain), b'PK\x01\x02', 10, b'\x0e\x00'), b'PK\x03\x04', 8, b'\x0e\x00'),
    )
    yield 'zstandard', lambda: _patched(archive(plain), b'PK\x01\x02', 10, b'\x5d\x00')
    yield 'encrypted', lambda: _patched(archive(plain), b'PK\x01\x02', 8, b'\x01\x00')
    yield 'offsets that point at themselves', lambda: _patched(archive(plain), b'PK\x01\x02', 42, b'\xff\xff\xff\x7f')
    yield (
        'a directory at a negative place',
        lambda: _patched(archive(plain), b'PK\x05\x06', 12, b'\xff\xff\xff\x7f' * 2),
    )
    yield 'a directory of 65535 entries', lambda: _patched(archive(plain), b'PK\x05\x06', 8, b'\xff\xff\xff\xff')
    yield 'a directory of a million short names', _directory(1_000_000)
    yield 'a directory of fields without content', _directory(160, fields=16_383)
    yield 'zip64 of 16 exabytes', lambda: _zip64(archive(plain))
    yield 'an end without an archive', lambda: b'PK\x05\x06' + bytes(18)
    yield 'a comment of 64 kB', lambda: archive(plain)[:-2] + b'\xff\xff' + b'PK\x05\x06' * 16383 + b'abc'
    yield 'before torch 1.6', lambda: b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.' + plain
    yield 'a raw pickle', lambda: plain
    yield 'lzma with a dictionary of 4 GB', _lzma


def _quietly(make: Maker) -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return make()


def _patched(data: bytes, signature: bytes, at: int, value: bytes) -> bytes:
    """Every record with the signature has `value` at that place."""
    changed, start = bytearray(data), data.find(signature)
    while start != -1:
        changed[start + at : start + at + len(value)] = value
        start = data.find(signature, start + 4)
    return bytes(changed)


def _directory(count: int, fields: int = 0) -> Maker:
    """A list of entries that are nowhere, each with as many empty extra fields."""

    def make() -> bytes:
        entries = bytearray()
        for i in range(count):
            name = b'%x' % i
            sizes = (20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 4 * fields, 0, 0, 0, 0, 0)
            entries += struct.pack('<4s6H3L5H2L', b'PK\x01\x02', *sizes) + name + b'\x09\x00\x00\x00' * fields
        where = len(entries), 0
        whole = struct.pack('<4sQHHLLQQQQ', b'PK\x06\x06', 44, 45, 45, 0, 0, count, count, *where)
        locator = struct.pack('<4sLQL', b'PK\x06\x07', 0, len(entries), 1)
        return bytes(entries) + whole + locator + b'PK\x05\x06' + bytes(4) + b'\xff' * 12 + bytes(2)

    return make


def _zip64(data: bytes) -> bytes:
    end = data.rindex(b'PK\x05\x06')
    record = b'PK\x06\x06' + struct.pack('<QHHIIQQQQ', 44, 45, 45, 0, 0, 1 << 60, 1 << 60, 1 << 60, 1 << 60)
    locator = b'PK\x06\x07' + struct.pack('<IQI', 0, end, 1)
    return data[:end] + record + locator + data[end : end + 8] + b'\xff' * 12 + data[-2:]


def _lzma() -> bytes:
    """data.pkl in LZMA whose header asks for a dictionary of 4 GB."""
    packed = b'\x09\x04\x05\x00\x5d\xff\xff\xff\xff' + bytes(40)
    data = archive(packed)
    for signature, at in ((b'PK\x01\x02', 10), (b'PK\x03\x04', 8)):
        start = data.index(signature)
        data = data[: start + at] + b'\x0e\x00' + data[start + at + 2 :]
    return data


def safetensors(header: bytes, data: bytes = b'', length: int | None = None) -> bytes:
    return struct.pack('<Q', len(header) if length is None else length) + header + data


def _entry(shape: object = (2,), dtype: str = 'F32', offsets: object = (0, 8), **more: object) -> dict[str, object]:
    return {'dtype': dtype, 'shape': shape, 'data_offsets': offsets, **more}


def _header(entry: dict[str, object] | None = None, **entries: object) -> bytes:
    return json.dumps({'a': entry, **entries} if entry else entries).encode()


def headers() -> Iterator[tuple[str, Maker]]:
    """.safetensors."""
    yield 'a header of 16 exabytes', lambda: safetensors(b'{}', length=(1 << 64) - 1)
    yield 'a header of 99 MB that is not there', lambda: safetensors(b'{}', length=99_000_000)
    yield 'a header of 99 MB of blanks', lambda: safetensors(b'{}' + b' ' * 99_000_000)
    yield 'a header of nothing', lambda: safetensors(b'')
    yield 'no header', lambda: b'\x01\x02'
    yield 'a list', lambda: safetensors(b'[]')
    yield 'lists in lists', lambda: safetensors(b'{"a":' + b'[' * 100_000 + b']' * 100_000 + b'}')
    yield (
        'a million tensors without numbers',
        lambda: safetensors(
            b'{'
            + b','.join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % i for i in range(1_000_000))
            + b'}'
        ),
    )
    yield 'a shape of a million axes', lambda: safetensors(_header(_entry([1] * 1_000_000, 'F32', [0, 4])), bytes(4))
    yield 'a shape that overflows', lambda: safetensors(_header(_entry([1 << 33, 1 << 33], 'F32', [0, 8])), bytes(8))
    yield 'a shape that is empty and huge', lambda: safetensors(_header(_entry([0, 1 << 62, 1 << 62], 'F32', [0, 0])))
    yield 'a negative shape', lambda: safetensors(_header(_entry([-2])), bytes(8))
    yield 'a shape of text', lambda: safetensors(_header(_entry(['2'])), bytes(8))
    yield (
        'a shape of 1e400',
        lambda: safetensors(b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,8]}}', bytes(8)),
    )
    yield 'offsets that overlap', lambda: safetensors(_header(_entry(), b=_entry(offsets=(4, 12))), bytes(12))
    yield 'offsets backwards', lambda: safetensors(_header(_entry(offsets=(8, 0))), bytes(8))
    yield 'offsets beyond the file', lambda: safetensors(_header(_entry((1 << 30,), offsets=(0, 1 << 32))), bytes(8))
    yield 'offsets with a hole', lambda: safetensors(_header(_entry(), b=_entry(offsets=(16, 24))), bytes(24))
    yield 'bytes after the last tensor', lambda: safetensors(_header(_entry()), bytes(800))
    yield 'a type nobody knows', lambda: safetensors(_header(_entry(dtype='\x1b[2J')), bytes(8))
    yield 'a type of four bits', lambda: safetensors(_header(_entry((4,), 'F4', (0, 2))), bytes(2))
    yield 'a type of eight bits', lambda: safetensors(_header(_entry((8,), 'F8_E4M3')), bytes(8))
    yield (
        'one name twice',
        lambda: safetensors(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b'\0',
        ),
    )
    yield 'escape codes in a name', lambda: safetensors(json.dumps({'\x1b[2J\n\x07': _entry()}).encode(), bytes(8))
    yield 'a name of 20 MB', lambda: safetensors(json.dumps({'a' * 20_000_000: _entry()}).encode(), bytes(8))
    yield 'notes of 50 MB', lambda: safetensors(_header(_entry(), __metadata__={'a': 'b' * 50_000_000}), bytes(8))
    yield 'notes that are no text', lambda: safetensors(_header(_entry(), __metadata__={'a': [1]}), bytes(8))
    yield 'not UTF-8', lambda: safetensors(b'{"\xff":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}')
    yield 'zeros', lambda: bytes(1000)


def objects() -> Iterator[tuple[str, Maker]]:
    """JSON, as an index, a config or a model.json."""
    yield 'lists in lists', lambda: b'{"a":' + b'[' * 1_000_000
    yield 'objects in objects', lambda: b'{"a":' * 800_000
    yield 'objects in objects, closed', lambda: b'{"a":' * 900 + b'1' + b'}' * 900
    yield 'ten million lists', lambda: b'{"a":[' + b'[],' * 10_000_000 + b'[]]}'
    yield 'a million lists', lambda: b'{"a":[' + b'[],' * 1_390_000 + b'[]]}'
    yield 'half a million objects', lambda: b'{"a":[' + b'{"a":0},' * 520_000 + b'{}]}'
    yield 'four hundred thousand keys', lambda: b'{' + b','.join(b'"%d":0' % i for i in range(400_000)) + b'}'
    yield 'quotes without end', lambda: b'{"a":"' + b'\\"' * 2_000_000
    yield 'a number of a million digits', lambda: b'{"a":' + b'9' * 1_000_000 + b'}'
    yield 'a fraction of a million digits', lambda: b'{"a":0.' + b'9' * 1_000_000 + b'}'
    yield 'an exponent of a million digits', lambda: b'{"a":1e' + b'9' * 1_000_000 + b'}'
    yield 'infinity by 1e999', lambda: b'{"a":1e999}'
    yield 'not a number', lambda: b'{"a":NaN}'
    yield 'infinity', lambda: b'{"a":-Infinity}'
    yield 'one key twice', lambda: b'{"weight_map":{},"weight_map":{"a":"b"}}'
    yield 'not UTF-8', lambda: b'{"a":"\xff\xfe"}'
    yield 'a byte-order mark', lambda: b'\xef\xbb\xbf{}'
    yield 'UTF-16', lambda: '{"a":1}'.encode('utf-16')
    yield 'half a pair', lambda: b'{"weight_map":{"\\ud800":"a.safetensors"}}'
    yield 'escape codes', lambda: b'{"weight_map":{"\\u001b[2J":"\\u001b[2J/../x"}}'
    yield 'a file outside', lambda: b'{"weight_map":{"a":"../../../../etc/passwd"}}'
    yield 'an absolute file', lambda: b'{"weight_map":{"a":"/dev/zero"}}'
    yield 'a file of no name', lambda: b'{"weight_map":{"a":"","b":".","c":".."}}'
    yield 'a name with an end inside', lambda: b'{"weight_map":{"a":"a\\u0000b.safetensors"}}'
    yield 'itself', lambda: b'{"weight_map":{"a":"model.safetensors.index.json"}}'
    yield 'a number for a map', lambda: b'{"weight_map":7}'
    yield 'numbers for files', lambda: b'{"weight_map":{"a":7,"b":"x"}}'
    yield 'lists for files', lambda: b'{"weight_map":{"a":[],"b":{}}}'
    yield (
        'a hundred thousand files',
        lambda: json.dumps({'weight_map': {str(i): f'{i}.safetensors' for i in range(100_000)}}).encode(),
    )
    yield 'a name of a megabyte', lambda: json.dumps({'weight_map': {'a': 'x' * 1_000_000}}).encode()
    yield 'nothing', lambda: b''
    yield 'two hundred thousand lists', lambda: b'{"a":[' + b'[],' * 199_000 + b'[]]}'
    yield 'a list', lambda: b'[]'
    yield 'null', lambda: b'null'
    yield 'a text of 40 MB', lambda: b'{"a":"' + b'x' * 40_000_000 + b'"}'


def numpy_pickles() -> Iterator[tuple[str, Maker]]:
    """Pickles of numpy arrays, read without an archive around them."""
    yield 'a call', lambda: b"cos\nsystem\n(S'touch EXECUTED'\ntR."
    yield (
        'dicts that double',
        lambda: (
            b'\x80\x02}q\x00'
            + b''.join(
                b'}(' + text('a') + b'h' + bytes([i]) + text('b') + b'h' + bytes([i]) + b'uq' + bytes([i + 1])
                for i in range(40)
            )
            + b'.'
        ),
    )
    yield 'a dict that holds itself', lambda: b'\x80\x02}q\x00' + text('a') + b'h\x00s.'
    yield 'dicts in dicts', lambda: b'\x80\x02' + (b'}' + text('a')) * 5000 + b'}' + b's' * 5000 + b'.'
    yield 'bytes that say 4 GB', lambda: b'\x80\x03B\xff\xff\xff\xffabc.'
    yield 'a number of a million digits', lambda: b'\x80\x02L' + b'9' * 1_000_000 + b'L\n.'
    yield 'a shape that is text', lambda: _array(text('a') + b'\x85')
    yield 'a shape of a thousand axes', lambda: _array(b'(' + b'K\x01' * 1000 + b't')
    yield 'a shape of huge and nothing', lambda: _array(b'(' + number(1 << 62) + b'K\x00' + number(1 << 62) + b't', b'')
    yield 'a negative shape', lambda: _array(number(-1) + b'\x85')
    yield 'noise', lambda: zlib.compress(bytes(range(256)) * 64)


def _array(shape: bytes, raw: bytes = bytes(4)) -> bytes:
    """One array in a dict, as numpy writes it."""
    start = b'cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R'
    kind = (
        b'cnumpy\ndtype\n'
        + text('f4')
        + b'\x89\x88\x87R(K\x03'
        + text('<')
        + b'NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb'
    )
    return b'\x80\x03}' + text('a') + start + b'(K\x01' + shape + kind + b'\x89C' + bytes([len(raw)]) + raw + b'tbs.'
