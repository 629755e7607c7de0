"""Files of torch.save: tensors are read, and nothing that a file says is ever run."""

import io
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from contextlib import suppress

import ml_dtypes
import numpy as np
import pytest

from addsr_jax.errors import UserError
from addsr_jax.weights import torch_pickle, torch_writer
from addsr_jax.weights.stored import Stored
from benchmarks import bombs_weights

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    'dtype', [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.int32, np.int8, np.uint8, np.bool_]
)
def test_what_is_written_is_read_bit_for_bit(tmp_path, dtype):
    content = {'a': RNG.normal(0, 3, (2, 3, 4)).astype(dtype), 'b': {'c': RNG.normal(0, 3, (5,)).astype(dtype)}}
    content['scalar'] = RNG.normal(0, 3, ()).astype(dtype)
    content['empty'] = np.zeros((0, 3), dtype)
    torch_writer.write(tmp_path / 'x.pth', content)
    read = torch_pickle.read(tmp_path / 'x.pth')
    for stored, wanted in ((read['a'], content['a']), (read['b']['c'], content['b']['c'])):
        assert (stored.shape, stored.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(stored.read(), wanted)
    assert read['scalar'].read() == content['scalar']
    assert read['empty'].read().shape == (0, 3)


def archive(path, description, data=b'\0' * 48, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compress) as file:
        file.writestr('archive/data.pkl', description)
        file.writestr('archive/data/0', data)
    return path


class Runs:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile():
    """Descriptions that must not be read, by name."""
    import os
    import subprocess

    tensor = _description()
    yield 'a call of os.system', pickle.dumps(Runs(os.system, 'touch owned'), 2)
    yield 'a call of eval', pickle.dumps(Runs(eval, '1 + 1'), 2)
    yield 'a call of subprocess, protocol 4', pickle.dumps(Runs(subprocess.run, ['touch', 'owned']), 4)
    yield 'getattr', pickle.dumps(Runs(getattr, 'a', 'upper'), 2)
    yield 'an old opcode that calls', b"(S'touch owned'\nios\nsystem\n."
    yield 'an opcode that builds an object', b'cos\nsystem\n(tR.'
    yield 'a name of torch that is no tensor', b'ctorch.hub\nload\n.'
    yield 'a class that pretends', b'ccollections OrderedDict\nx\n.'
    yield 'an extension code', b'\x82\x01.'
    yield 'a persistent id as text', b'P0\n.'
    yield 'no end', tensor[:-1]
    yield 'an empty stack', b'.'
    yield 'a memo that is not there', b'h\x07.'
    yield 'a list in place of the dict', b'\x80\x02].'
    yield 'a number as a function', b'\x80\x02K\x01)R.'
    yield 'attributes for a number', b'\x80\x02K\x01}b.'
    yield 'a number of a billion digits', b'\x80\x02\x8b' + struct.pack('<i', 1 << 30) + b'\x01.'
    yield 'a name used twice', b'\x80\x02}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u.'
    yield 'a shape beyond its storage', tensor.replace(_number(3), _number(4), 1)
    yield 'a negative offset', _description(offset=-1)
    yield 'an offset beyond the storage', _description(offset=1)
    yield 'strides that leave the storage', _description(strides=(4, 2))
    yield 'a negative stride', _description(strides=(-4, 1))
    yield 'a storage larger than its bytes', _description(size=1000)
    yield 'a storage of another file', _description(key='../../etc/passwd')
    yield 'garbage', bytes(range(200, 256))
    yield (
        'a name of pairs that double forty times',
        b'\x80\x04X\x01\x00\x00\x00aq\x00' + _doubled() + b'h\x28h\x28\x93.',
    )
    yield (
        'a storage whose name doubles',
        b'\x80\x02X\x01\x00\x00\x00aq\x00' + _doubled() + b'(h\x28h\x28h\x28h\x28K\x01tQ.',
    )
    yield 'dicts inside dicts', b'\x80\x02' + b'}' + (_text('a') + b'}') * 40 + b's' * 40 + b'.'
    yield 'half a million marks', b'\x80\x02' + b'(' * 500_000 + b't' * 500_000 + b'.'
    yield 'numbers of one hash as keys', b'\x80\x02}' + _number((1 << 61) - 1) + b'K\x01s.'
    yield 'more axes than arrays have', _description(shape=(1,) * 33, strides=(0,) * 33)
    yield 'more steps than thirty thousand tensors take', b'\x80\x02' + b'N' * (torch_pickle.MOST_STEPS + 1) + b'.'


def _doubled():
    """Pairs of the pair before, forty times: a trillion letters for who writes them out."""
    return b''.join(b'h' + bytes([i]) + b'h' + bytes([i]) + b'\x86q' + bytes([i + 1]) for i in range(40))


def _number(n):
    return b'\x8a\x08' + struct.pack('<q', n)


def _text(text):
    return b'X' + struct.pack('<I', len(text)) + text.encode()


def _description(offset=0, shape=(3, 4), strides=(4, 1), size=12, key='0'):
    storage = b'(' + _text('storage') + b'ctorch\nFloatStorage\n' + _text(key) + _text('cpu') + _number(size) + b'tQ'
    view = b'(' + storage + _number(offset) + b'(' + b''.join(map(_number, shape)) + b't('
    view += b''.join(map(_number, strides)) + b't\x89ccollections\nOrderedDict\n)Rt'
    return b'\x80\x02}' + _text('w') + b'ctorch._utils\n_rebuild_tensor_v2\n' + view + b'Rs.'


def test_the_plain_description_that_the_hostile_ones_vary_is_read(tmp_path):
    data = np.arange(12, dtype=np.float32)
    path = archive(tmp_path / 'x.pth', _description(), data.tobytes())
    np.testing.assert_array_equal(torch_pickle.read(path)['w'].read(), data.reshape(3, 4))
    turned = archive(tmp_path / 'y.pth', _description(shape=(4, 3), strides=(1, 4)), data.tobytes())
    np.testing.assert_array_equal(torch_pickle.read(turned)['w'].read(), data.reshape(3, 4).T)


@pytest.mark.parametrize('description', [d for _, d in hostile()], ids=[name for name, _ in hostile()])
def test_hostile_descriptions_are_refused_and_nothing_runs(tmp_path, monkeypatch, description):
    monkeypatch.chdir(tmp_path)
    path = archive(tmp_path / 'x.pth', description)
    with pytest.raises(UserError, match=r'x\.pth'):
        torch_pickle.read(path)
    assert [p.name for p in tmp_path.iterdir()] == ['x.pth']


def test_only_listed_opcodes_are_known():
    everything = {opcode.name for opcode in pickletools.opcodes}
    assert set(torch_pickle.OPCODES) < everything
    assert not {'INST', 'OBJ', 'NEWOBJ', 'NEWOBJ_EX', 'EXT1', 'EXT2', 'EXT4', 'PERSID', 'LONG4'} & set(
        torch_pickle.OPCODES
    )


@pytest.mark.parametrize('length', [0, 10, 100, -30, -1])
def test_a_truncated_file_is_refused(tmp_path, length):
    path = tmp_path / 'x.pth'
    torch_writer.write(path, {'a': np.ones((40, 40), np.float32)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match='cut off or damaged: download it again' if length else 'no archive of torch'):
        torch_pickle.read(path)


def test_a_compressed_bomb_and_a_file_before_torch_1_6_are_refused(tmp_path):
    bomb = archive(tmp_path / 'x.pth', _description(), b'\0' * 48, zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match='compressed'):
        torch_pickle.read(bomb)
    (tmp_path / 'old.pth').write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    with pytest.raises(UserError, match=r'torch 1\.6'):
        torch_pickle.read(tmp_path / 'old.pth')


def test_damaged_bytes_of_a_tensor_are_noticed(tmp_path):
    path = archive(tmp_path / 'x.pth', _description(), b'\x01' * 48)
    path.write_bytes(path.read_bytes().replace(b'\x01' * 48, b'\x02' * 48))
    with pytest.raises(torch_pickle.Refused, match='Bad CRC'):
        torch_pickle.read(path)['w'].read()


@pytest.mark.parametrize('name', ['a directory of a million short names', 'a directory of fields without content'])
def test_a_list_of_entries_that_no_tensors_need_is_refused_before_it_is_parsed(tmp_path, monkeypatch, name):
    (tmp_path / 'x.pth').write_bytes(dict(bombs_weights.archives())[name]())
    monkeypatch.setattr(zipfile, 'ZipInfo', None)  # what is made of each entry
    with pytest.raises(UserError, match='its list of entries has more than 1048576 bytes'):
        torch_pickle.read(tmp_path / 'x.pth')


def test_thousands_of_tensors_are_read_from_one_opening(tmp_path, monkeypatch):
    torch_writer.write(tmp_path / 'x.pth', {str(i): np.full((2, 2), i, np.float32) for i in range(5000)})
    opened, real = [], zipfile.ZipFile
    monkeypatch.setattr(zipfile, 'ZipFile', lambda *given: opened.append(given) or real(*given))
    found = torch_pickle.read(tmp_path / 'x.pth')
    assert [tensor.read()[1, 1] for tensor in found.values()] == list(range(5000))
    assert len(opened) == 1


def test_a_storage_that_tensors_share_is_read_once_and_one_that_none_shares_is_not_kept(tmp_path, monkeypatch):
    rows = b''.join(_text(f'w{i}') + bombs_weights.tensor(4 * i, (4,), (1,)) for i in range(3))
    path = archive(tmp_path / 'x.pth', b'\x80\x02}(' + rows + b'u.', np.arange(12, dtype=np.float32).tobytes())
    asked, real = [], zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, 'read', lambda self, name: asked.append(name) or real(self, name))
    found = torch_pickle.read(path)
    for i in range(3):
        np.testing.assert_array_equal(found[f'w{i}'].read(), np.arange(4 * i, 4 * i + 4))
    assert asked == ['archive/data/0']
    torch_writer.write(tmp_path / 'y.pth', {'a': np.ones(4, np.float32)})
    opened = torch_pickle.Archive(tmp_path / 'y.pth')
    opened.used('y/data/0')
    assert len(opened.storage('y/data/0')) == 16
    assert opened._last == ('', b'')


def test_dicts_that_hold_one_dict_twice_are_read_once(tmp_path):
    """Thirty levels of {a: below, b: below} are a billion dicts for who walks all ways to them."""
    inner = _description()[2:-1] + b'q\x00'
    levels = b''.join(
        b'}' + _text('a') + b'h' + bytes([i]) + b's' + _text('b') + b'h' + bytes([i]) + b'sq' + bytes([i + 1])
        for i in range(30)
    )
    content = torch_pickle.read(archive(tmp_path / 'x.pth', b'\x80\x02' + inner + levels + b'.'))
    for _ in range(30):
        assert content['a'] is content['b']
        content = content['a']
    assert content['w'].shape == (3, 4)


def test_an_encrypted_or_unknown_archive_is_refused(tmp_path):
    torch_writer.write(tmp_path / 'x.pth', {'a': np.ones((4, 4), np.float32)})
    whole = (tmp_path / 'x.pth').read_bytes()
    for at, value in ((6, 255), (8, 1), (10, 12), (10, 99)):  # version, encrypted, bzip2, no method at all
        directory = bytearray(whole)
        start = whole.index(b'PK\x01\x02')
        while start != -1:
            directory[start + at] = value
            start = whole.find(b'PK\x01\x02', start + 4)
        (tmp_path / 'x.pth').write_bytes(directory)
        with pytest.raises(UserError, match=r'x\.pth'):
            torch_pickle.read(tmp_path / 'x.pth')


@pytest.mark.parametrize('seed', range(4))
def test_flipped_bytes_are_read_as_they_are_or_refused(tmp_path, seed):
    rng, path = np.random.default_rng(seed), tmp_path / 'x.pth'
    torch_writer.write(path, {'a': {'b': np.ones((4, 4), np.float32)}, 'c': np.zeros(3, np.int64)})
    whole = path.read_bytes()
    for _ in range(500):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 5)):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            tensors = list(_tensors(torch_pickle.read(path)))
        except UserError as error:
            if 'x.pth' not in str(error):
                raise
            continue
        for stored in tensors:
            with suppress(torch_pickle.Refused):
                stored.read()


def _tensors(content):
    for value in content.values():
        yield from _tensors(value) if isinstance(value, dict) else [value] if isinstance(value, Stored) else []


def test_ordered_dicts_with_metadata_are_plain_dicts():
    state = OrderedDict(a=1)
    vars(state)['_metadata'] = OrderedDict(version=1)  # where torch puts it
    buffer = io.BytesIO()
    pickle.dump(state, buffer, 2)
    assert torch_pickle.parse(buffer.getvalue()) == {'a': 1}
