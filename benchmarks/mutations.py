"""Strategies of hypothesis: valid files, changed a little, with checksums mended so that the change reaches inside."""

import copy
import io
import json
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from addsr_jax import spec_json
from addsr_jax.sizes import NANO
from addsr_jax.weights import torch_writer
from benchmarks import bombs_pictures, bombs_weights

Draw = Callable[[Any], Any]
NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
)
VALUES = (
    0,
    -1,
    1,
    2.5,
    1e12,
    10**9,
    1 << 64,
    1e308,
    True,
    None,
    '',
    'x',
    '\x1b[2J',
    [],
    {},
    [[[]]],
    ['a'],
    {'a': {}},
    [1] * 99,
)


def edited(draw: Draw, data: bytes, other: bytes = b'') -> bytes:
    """One to six changes: a bit, a number, a piece that goes, comes again or from another file; the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        size = len(changed)
        at = draw(st.integers(0, max(size - 1, 0)))
        kind = draw(st.sampled_from(('flip', 'flip', 'put', 'number', 'number', 'drop', 'again', 'splice', 'end')))
        if kind == 'flip' and size:
            changed[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 'put' and size:
            changed[at] = draw(st.integers(0, 255))
        elif kind == 'number':
            width, order = draw(st.sampled_from((1, 2, 4, 8))), draw(st.sampled_from(('little', 'big')))
            value = draw(st.sampled_from(NUMBERS)) % (1 << (8 * width))
            changed[at : at + width] = value.to_bytes(width, order)
        elif kind == 'drop':
            del changed[at : at + draw(st.integers(1, 32))]
        elif kind == 'again':
            length, times = draw(st.integers(1, 64)), draw(st.sampled_from((1, 2, 3, 1000)))
            changed[at:at] = changed[at : at + length] * times
        elif kind == 'splice' and other:
            start = draw(st.integers(0, len(other) - 1))
            changed[at : at + draw(st.integers(0, 64))] = other[start : start + draw(st.integers(1, 256))]
        elif kind == 'end':
            del changed[at:]
    return bytes(changed)


# --- weights ---------------------------------------------------------------------------------------------------------


@cache
def archives() -> tuple[bytes, ...]:
    """Files of torch.save."""
    found = []
    rng = np.random.default_rng(0)
    arrays = {'a.weight': rng.normal(size=(3, 4)).astype(np.float32), 'a.bias': np.zeros(4, np.float16)}
    contents = (
        arrays,
        {'model': arrays, 'step': 7, 'name': 'x'},
        {'state_dict': {'b': np.ones((), np.int64), 'c': {'d': np.zeros((0, 2))}}},
    )
    with tempfile.TemporaryDirectory() as folder:
        for content in contents:
            torch_writer.write(Path(folder) / 'x.pth', content)
            found.append((Path(folder) / 'x.pth').read_bytes())
    simple = bombs_weights.described(bombs_weights.text('a') + bombs_weights.tensor())
    return (
        *found,
        bombs_weights.archive(simple),
        bombs_weights.archive(simple, packed=True),
        bombs_weights.archive(DAWN),
    )


# what newer protocols write: memo, frames, names from the stack, short texts
DAWN = (
    b'\x80\x04\x95\x40\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94('
    b'(\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0cFloatStorage\x94\x93\x94\x8c\x010\x94\x8c\x03cpu\x94K\x0ct\x94QK\0K\x03K\x04\x86\x94'
    b'K\x04K\x01\x86\x94\x89\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94t\x94R\x94u.'
)


@st.composite
def torch_files(draw: Draw) -> bytes:
    """Changed as a whole, in the description alone, or in a name or size of the archive; or a pickle without one."""
    seed, other = draw(st.sampled_from(archives())), draw(st.sampled_from(archives()))
    how = draw(st.sampled_from(('whole', 'description', 'description', 'description', 'opcodes', 'entries', 'pickle')))
    if how == 'whole':
        return edited(draw, seed, other)
    with zipfile.ZipFile(io.BytesIO(seed)) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    description = next(name for name in entries if name.endswith('data.pkl'))
    if how == 'opcodes':
        entries[description] = draw(opcodes())
    elif how == 'entries':
        name = draw(st.sampled_from(sorted(entries)))
        data = edited(draw, entries.pop(name), other)
        entries[draw(st.sampled_from((name, name + 'x', f'{name}/../data.pkl', 'y/data.pkl', 'archive/byteorder')))] = (
            data
        )
    else:
        entries[description] = edited(draw, entries[description], DAWN)
    if how == 'pickle':
        return entries[description]
    buffer = io.BytesIO()
    packing = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    with zipfile.ZipFile(buffer, 'w', packing) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


@st.composite
def opcodes(draw: Draw) -> bytes:
    """Pickles out of whole opcodes that mostly fit one another."""
    text, tensor, number = bombs_weights.text, bombs_weights.tensor, bombs_weights.number
    pieces = (
        *(bytes((code,)) for code in b'}(us]ae)t\x85\x86\x87RbQN\x88\x89\x94\x9302\x81\x92c\x8f\x90io'),
        *(b'q\x00', b'h\x00', b'q\x01', b'h\x01', b'r\0\0\1\0', b'j\0\0\1\0', b'K\x01', b'C\x01a', b'G' + bytes(8)),
        *(f'c{name}\n'.encode() for name in ('torch\nFloatStorage', 'collections\nOrderedDict', 'os\nsystem')),
        *(f'ctorch._utils\n_rebuild_{name}\n'.encode() for name in ('parameter', 'tensor_v2')),
        *(text(word) for word in ('a', 'storage', '0', 'cpu', 'model', '\x1b[2J')),
        *(number(value) for value in (0, -1, 12, 1 << 62)),
        *(tensor(), tensor(size=1 << 40)),
        *(b'\x8b\xff\xff\xff\x7f', b'X\xff\xff\xff\xff', b'\x95' + b'\xff' * 8, b'\x82\x01'),
    )
    drawn = draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=40))
    return b'\x80\x02}(' + b''.join(drawn) + draw(st.sampled_from((b'u.', b'.', b'', b's.')))


@cache
def tensor_files() -> tuple[bytes, ...]:
    from safetensors.numpy import save

    rng = np.random.default_rng(0)
    small = {
        'a.weight': rng.normal(size=(3, 4)).astype(np.float32),
        'a.bias': np.zeros(4, np.float16),
        'c': np.ones((), np.int64),
    }
    return save(small), save(small, {'format': 'pt'}), save({'a': np.zeros((0, 2), bool)})


@st.composite
def safetensors(draw: Draw) -> bytes:
    """Changed as a whole, or in the header as text or as an object, with its length mended."""
    seed, other = draw(st.sampled_from(tensor_files())), draw(st.sampled_from(tensor_files()))
    size = int.from_bytes(seed[:8], 'little')
    header, data = seed[8 : 8 + size], seed[8 + size :]
    how = draw(st.sampled_from(('whole', 'text', 'object', 'object')))
    if how == 'whole':
        return edited(draw, seed, other)
    changed = edited(draw, header, other) if how == 'text' else json.dumps(draw(replaced(json.loads(header)))).encode()
    return struct.pack('<Q', len(changed)) + changed + data


@st.composite
def replaced(draw: Draw, value: Any) -> Any:
    """The object with one to three of its values, at any depth, replaced, gone, or under another name."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place, key = value, None
        while isinstance(place, dict | list) and place:
            parent, key = place, draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            place = place[key]
            if draw(st.integers(0, 2)) == 0:
                break
        if key is None:
            return copy.deepcopy(draw(st.sampled_from(VALUES)))
        how = draw(st.sampled_from(('value', 'value', 'number', 'gone', 'more')))
        if how == 'gone':
            del parent[key]
        elif how == 'more' and isinstance(parent, dict):
            parent[draw(st.sampled_from(('x', '', '../x', '\x1b[2J')))] = copy.deepcopy(parent[key])
        elif how == 'number':
            parent[key] = draw(st.one_of(st.integers(-3, 300), st.floats(), st.integers()))
        else:
            parent[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return value


@cache
def objects() -> tuple[dict[str, Any], ...]:
    record = {'form': 'safetensors', 'parts': [], 'spec': json.loads(json.dumps(spec_json.to_json(NANO))), 'info': {}}
    return (
        record,
        {**record, 'parts': ['autoencoder', 'teacher']},
        {'metadata': {}, 'weight_map': {'a': 'x.safetensors'}},
    )


@st.composite
def json_files(draw: Draw) -> bytes:
    """model.json and indexes."""
    seed = draw(st.sampled_from(objects()))
    if draw(st.integers(0, 3)):
        return json.dumps(draw(replaced(seed))).encode()
    return edited(draw, json.dumps(seed).encode(), json.dumps(objects()[0]).encode())


# --- pictures --------------------------------------------------------------------------------------------------------


@cache
def pictures() -> dict[str, bytes]:
    """A small one of every format that is opened, in the kinds that its decoder treats differently."""
    values = np.random.default_rng(0).integers(0, 255, (20, 24, 4), np.uint8)
    rgb, rgba = Image.fromarray(np.ascontiguousarray(values[..., :3])), Image.fromarray(values)
    grey, deep = rgb.convert('L'), Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, 'maker'
    more: dict[str, Any] = {'exif': exif, 'icc_profile': bytes(range(128))}
    frames: dict[str, Any] = {'save_all': True, 'append_images': [rgb.transpose(Image.Transpose.ROTATE_180)]}
    made: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        'JPEG': [(rgb, {}), (rgb, {'progressive': True}), (rgb.convert('CMYK'), {}), (rgb, more), (grey, {})],
        'PNG': [(rgb, {}), (rgba, more), (deep, {}), (rgb.quantize(16), {'transparency': 3}), (rgb, frames)],
        'WEBP': [(rgb, {}), (rgba, {'lossless': True}), (rgb, more), (rgb, frames)],
        'TIFF': [(rgb, {'compression': kind}) for kind in ('raw', 'tiff_adobe_deflate', 'packbits', 'jpeg')],
        'BMP': [(image, {}) for image in (rgb, grey, rgb.quantize(4), grey.convert('1'), rgba)],
        'GIF': [(rgb, {}), (rgb, frames), (grey, {})],
        'AVIF': [(rgb, {}), (rgba, more), (rgb, frames)],
        'JPEG2000': [(rgb, {}), (rgba, {}), (rgb, {'no_jp2': True}), (rgb, {'tile_size': (8, 8)}), (deep, {})],
        'PPM': [(image, {}) for image in (rgb, grey, deep, grey.convert('1'), grey.convert('F'))],
        'TGA': [(rgb, {}), (rgba, {'compression': 'tga_rle'}), (rgb.quantize(4), {})],
        'QOI': [(rgb, {}), (rgba, {})],
    }
    made['PNG'] += [(image, {}) for image in (grey.convert('1'), rgba.convert('LA'))]
    modes = (grey.convert('F'), grey.convert('I'), rgb.convert('CMYK'), rgb.convert('YCbCr'), rgb.convert('LAB'), rgba)
    made['TIFF'] += [(image, {}) for image in modes]
    made['TIFF'] += [
        (rgb, {'compression': 'tiff_lzw'}),
        (deep, {}),
        (grey.convert('1'), {'compression': 'group4'}),
        (rgb, frames),
    ]
    found = {}
    for kind, images in made.items():
        for image, options in images:
            buffer = io.BytesIO()
            image.save(buffer, kind, **options)
            found[f'{kind} {len(found)}'] = buffer.getvalue()
    found['PPM words'] = b'P3\n# a comment\n2 2\n255\n1 2 3 4 5 6\n7 8 9 10 11 12\n'
    found['PPM bits'] = b'P1\n4 2\n1 0 1 0\n0101\n'
    found['PPM few levels'] = b'P6\n2 2\n100\n' + bytes(range(12))
    found['BMP runs'] = bombs_pictures.bmp(8, 4, 1, b'\x08\x01\0\0\x04\x02\0\x04abcd\0\0\0\x02\1\1\x03\x05\0\1')
    return found


@st.composite
def changed_pictures(draw: Draw) -> bytes:
    """PNG's checksums are mended most of the time, and its rows changed before they are deflated."""
    seeds = pictures()
    name, other = draw(st.sampled_from(sorted(seeds))), draw(st.sampled_from(sorted(seeds)))
    data = seeds[name]
    if name.startswith('PNG') and draw(st.integers(0, 3)):
        return bombs_pictures.joined(_changed_chunks(draw, bombs_pictures.chunks(data), seeds[other]))
    return edited(draw, data, seeds[other])


def _changed_chunks(draw: Draw, parts: list[tuple[bytes, bytes]], other: bytes) -> list[tuple[bytes, bytes]]:
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(parts) - 1))
        kind, data = parts[at]
        how = draw(st.sampled_from(('data', 'data', 'inside', 'kind', 'again', 'gone')))
        if how == 'data':
            parts[at] = (kind, edited(draw, data, other))
        elif how == 'inside' and kind == b'IDAT':
            try:
                parts[at] = (kind, zlib.compress(edited(draw, zlib.decompress(data), other)))
            except zlib.error:  # it was changed before
                continue
        elif how == 'kind':
            kinds = (
                b'tEXt',
                b'zTXt',
                b'iTXt',
                b'iCCP',
                b'eXIf',
                b'PLTE',
                b'tRNS',
                b'acTL',
                b'fcTL',
                b'fdAT',
                b'gAMA',
                b'IDAT',
            )
            parts[at] = (draw(st.sampled_from(kinds)), data)
        elif how == 'again':
            parts.insert(at, parts[draw(st.integers(0, len(parts) - 1))])
        elif len(parts) > 1:
            del parts[at]
    return parts
