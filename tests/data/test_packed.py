"""Packed photographs: the batches of the folder, whole files or none, and what is damaged is named."""

import json
import pickle
import resource
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from addsr_jax import pack
from addsr_jax.data import packing, sources
from addsr_jax.data.batches import Decoded, described, make_batches
from addsr_jax.data.options import DataOptions
from addsr_jax.data.tokens import load_tokenizer
from addsr_jax.errors import UserError, guard
from addsr_jax.training import lock
from addsr_jax.weights.bundle import NANO
from tests.data import photos

TOKENIZER = load_tokenizer(NANO / 'tokenizer')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six photographs, two of them in a folder of their own, with two captions."""
    root = photos.folder(tmp_path_factory.mktemp('packed') / 'photos', 6, 96)
    (root / 'deep').mkdir()
    for name in ('01.png', '04.png'):
        (root / name).rename(root / 'deep' / name)
    (root / '02.txt').write_text('a rocket, sky\n', encoding='utf-8')
    (root / 'deep/04.txt').write_text('caf\u00e9', encoding='utf-8')
    return root


def make(found: Path, target: Path, shard_bytes: int = 40_000):
    """Packs into several files; what is said, and what is complained about."""
    said, complained = [], []
    packing.unfinished_beside(target).mkdir(exist_ok=True)
    packing.pack(
        packing.listed([found]),
        target,
        shard_bytes=shard_bytes,
        threads=2,
        report=said.append,
        complain=complained.append,
    )
    return said, complained


@pytest.fixture(scope='module')
def packed(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp('packed') / 'out'
    make(folder, target)
    assert len(list(target.glob('*.array_record'))) > 2
    return target


@pytest.fixture
def copied(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / 'copied')


def batches(source, **changes):
    options = DataOptions(hr_size=80, null_text=0.2, **{'threads': 0, **changes})
    made = make_batches(options, source, TOKENIZER, batch_size=4, seed=5, process_index=0, process_count=1)
    return list(islice(made(1), 3))


@pytest.mark.parametrize('changes', [{}, {'threads': 2}], ids=str)
def test_batches_and_captions_are_bit_for_bit_those_of_the_folder(folder, packed, changes):
    found = batches(sources.open_source('packed', str(packed)), **changes)
    for mine, theirs in zip(found, batches(sources.open_source('folder', str(folder))), strict=True):
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)
    assert len({row.tobytes() for batch in found for row in batch['tokens']}) == 3  # both captions, and none


def test_a_record_is_the_file_as_it_was_with_its_caption_and_its_name(folder, packed):
    theirs = sources.folder(str(folder))
    mine = pickle.loads(pickle.dumps(sources.packed(str(packed))))  # as processes that decode get it
    assert len(mine) == len(theirs) == 6
    for i in range(6):
        assert mine[i] == {**theirs[i], 'name': f'photos/{theirs.paths[i].relative_to(folder)}'}
        assert mine.name_of(i) == mine[i]['name']


def test_photographs_of_one_name_in_folders_of_one_name_keep_names_of_their_own(tmp_path):
    folders = [photos.folder(tmp_path / place, 2, 40) for place in ('a/photos', 'b/photos', 'b/others')]
    names = packing.listed(folders).names
    assert names[:5] == ('a/photos/00.png', 'a/photos/01.png', 'b/photos/00.png', 'b/photos/01.png', 'b/others/00.png')
    assert packing.listed(folders[1:]).names[0] == 'photos/00.png'
    with pytest.raises(UserError, match='lies in two of the folders'):
        packing.listed([folders[0], folders[0]])


def test_a_link_to_a_photograph_beside_it_is_packed_as_one_of_its_own(tmp_path):
    root = photos.folder(tmp_path / 'photos', 1, 40)
    (root / 'link.png').symlink_to('00.png')
    assert packing.listed([root]).names == ('photos/00.png', 'photos/link.png')


def test_what_training_could_not_use_is_named_counted_and_left_out(tmp_path, capsys):
    root = photos.folder(tmp_path / 'photos', 4, 40)
    (root / '00.png').write_bytes(b'no picture')
    (root / '03.txt').write_bytes(b'caf\xe9')
    (root / '.hidden.png').touch()
    assert guard(pack.main, [str(root), '-o', str(tmp_path / 'out')]) == 0
    said = capsys.readouterr()
    assert 'left out: ' in said.err
    (damaged, unclear) = (line.partition('.png ')[2] for line in said.err.splitlines())
    assert damaged.startswith('cannot be read as an image: it is no JPEG, ')  # HEIF where it can be read
    assert damaged.endswith(' or TGA file, or damaged')
    assert unclear == 'has a caption that is not UTF-8, 03.txt: convert it'
    assert '1 hidden' in said.out
    assert 'holds 2 photographs in 1 file, 0.1 MB; left out: 2' in said.out
    assert [sources.packed(str(tmp_path / 'out')).name_of(i) for i in (0, 1)] == ['photos/01.png', 'photos/02.png']


def test_a_file_of_damaged_pictures_alone_is_passed_over(tmp_path):
    root = photos.folder(tmp_path / 'photos', 3, 40)
    (root / '01.png').write_bytes(b'no picture')
    make(root, tmp_path / 'out', shard_bytes=1)
    source = sources.packed(str(tmp_path / 'out'))
    assert [source[i]['name'] for i in range(len(source))] == ['photos/00.png', 'photos/02.png']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['photos', '-o', 'there'], 'there exists already: choose another --output'),
        (['nowhere', '-o', 'out'], "there is no folder 'nowhere'"),
        (['there', '-o', 'out'], 'there holds no images'),
        (['photos', 'photos', '-o', 'out'], '00.png lies in two of the folders'),
        (['photos', 'there/../photos', '-o', 'out'], '00.png lies in two of the folders'),
        (['photos', 'link', '-o', 'out'], '00.png lies in two of the folders'),
        (['', '-o', 'out'], 'FOLDER is empty: it may come from a variable that has no value'),
        (['photos', '--lq', '', '-o', 'out'], '--lq is empty'),
        (['photos', '--lq=', '-o', 'out'], '--lq is empty'),
        (['broken', '-o', 'out'], 'none of the photographs can be used, the first is broken/a.png'),
        (['photos', '-o', 'broken/a.png/out'], 'out cannot be written: '),
        (['photos'], 'the following arguments are required: -o/--output'),
        (['photos', '-o', 'out', '--shard_mb', '0'], '--shard_mb is 0: it must be a whole number in 1..'),
    ],
    ids=str,
)
def test_packing_refuses_in_one_line_and_makes_nothing(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    photos.folder(tmp_path / 'photos', 1, 40)
    for name in ('there', 'broken'):
        Path(name).mkdir()
    Path('broken/a.png').write_bytes(b'no picture')
    Path('link').symlink_to('photos')
    assert guard(pack.main, arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not Path('out').exists()
    assert not Path('.out.writing').exists()
    assert not list(Path('there').iterdir())


def test_nobody_packs_to_a_place_where_another_call_does(tmp_path, capsys):
    root, unfinished = photos.folder(tmp_path / 'photos', 1, 40), packing.unfinished_beside(tmp_path / 'out')
    unfinished.mkdir()
    with lock.alone(unfinished, print):
        assert guard(pack.main, [str(root), '-o', str(tmp_path / 'out')]) == 2
    assert 'another call writes' in capsys.readouterr().err


def test_a_call_that_was_stopped_leaves_nothing_and_the_next_goes_on(folder, tmp_path, monkeypatch):
    root, target = shutil.copytree(folder, tmp_path / 'photos'), tmp_path / 'out'
    write, calls = packing._write, []

    def stopped(*arguments):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(arguments)
        return write(*arguments)

    monkeypatch.setattr(packing, '_write', stopped)
    with pytest.raises(KeyboardInterrupt):
        make(root, target)
    assert not target.exists()
    monkeypatch.setattr(packing, '_write', write)
    (root / '00.txt').write_text('a caption that came later')
    said, _ = make(root, target)
    assert ['earlier' in line for line in said[:3]] == [False, True, False]
    source = sources.packed(str(target))
    assert [source[i]['caption'] for i in range(3)] == ['a caption that came later', 'a rocket, sky', '']
    assert sorted(p.suffix for p in target.iterdir()) == sorted(['.array_record'] * len(said) + ['.json'])


def test_a_full_disk_is_one_line_and_leaves_no_file_that_looks_whole(folder, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        with pytest.raises(UserError, match=r'00000-of-00001.array_record cannot be written: .*too large'):
            make(folder, tmp_path / 'out', shard_bytes=10**6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.rglob('*array_record*'))


def edit(folder: Path, **changes):
    path = folder / 'packed.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def first(folder: Path) -> Path:
    return min(folder.glob('*.array_record'))


DAMAGE = {
    'is truncated or another file': lambda f: first(f).write_bytes(first(f).read_bytes()[:-1]),
    'is no ArrayRecord file, or damaged': lambda f: first(f).write_bytes(bytes(first(f).stat().st_size)),
    'is gone: copy the folder again': lambda f: first(f).unlink(),
    'is of version 3, neither 1 nor 2': lambda f: edit(f, version=3),
    'names no photographs': lambda f: edit(f, records=[], bytes=[]),
    'and not 7: copy': lambda f: edit(f, records=[7, *json.loads((f / 'packed.json').read_text())['records'][1:]]),
    'records and bytes are no lists': lambda f: edit(f, records=['3']),
    'packed.json cannot be read': lambda f: (f / 'packed.json').write_text('{'),
}


@pytest.mark.parametrize('message', DAMAGE)
def test_a_damaged_folder_is_refused_as_it_is_opened(copied, message):
    DAMAGE[message](copied)
    with pytest.raises(UserError, match=message) as raised:
        sources.open_source('packed', str(copied))
    assert str(copied) in str(raised.value)


def test_a_record_that_is_damaged_inside_is_replaced_by_the_next_and_named_by_its_place(copied):
    content = bytearray(first(copied).read_bytes())
    content[content.index(b'IDAT') + 99] ^= 1
    first(copied).write_bytes(bytes(content))
    source = sources.packed(str(copied))
    found = [Decoded(source)[i]['replaced'] for i in range(len(source))]
    assert sum(n >= 0 for n in found) == 1
    assert described(source, max(found)).startswith(f'{copied}[{max(found)}] (cannot be read: Corrupted')
