"""What is kept from one start to the next is what would be made anew, or it is made anew."""

import os
from pathlib import Path

import jax
import pytest

from addsr_jax import keep
from addsr_jax.keep import place  # itself: the tests' session keeps nothing


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(keep, 'place', lambda: tmp_path / 'kept')
    return tmp_path / 'kept'


@pytest.fixture
def asked():
    """How often something was made."""
    return []


def thing(asked, of='it', what=b'made'):
    return keep.kept('thing', of, lambda: asked.append(of) or what)


def test_what_was_made_is_not_made_again(folder, asked):
    assert thing(asked) == thing(asked) == b'made'
    assert asked == ['it']
    assert thing(asked, 'another', b'') == thing(asked, 'another', b'') == b''
    assert asked == ['it', 'another']


@pytest.mark.parametrize('damaged', [b'', b'short', lambda found: found[:-1], lambda found: found[:-1] + b'x'])
def test_a_damaged_file_is_made_again(folder, asked, damaged):
    thing(asked)
    (path,) = folder.iterdir()
    path.write_bytes(damaged(path.read_bytes()) if callable(damaged) else damaged)
    assert thing(asked) == thing(asked) == b'made'
    assert asked == ['it', 'it']


def test_other_code_or_other_settings_of_jax_find_nothing(folder, asked, monkeypatch):
    thing(asked)
    with jax.default_matmul_precision('bfloat16'):
        thing(asked)
    monkeypatch.setattr(keep, '_code', lambda: 'altered')
    thing(asked)
    assert len(asked) == 3
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize(
    ('kind', 'library', 'again'),
    [
        ('words', 'transformers', True),
        ('words', 'tokenizers', True),
        ('program', 'qwix', True),
        ('shapes', 'transformers', False),
    ],
)
def test_another_version_of_a_library_makes_anew_what_it_makes(folder, asked, monkeypatch, kind, library, again):
    real = keep.metadata.version
    keep._versions.cache_clear()
    for number in ('1', '2'):
        monkeypatch.setattr(keep.metadata, 'version', lambda name, n=number: n if name == library else real(name))
        keep.kept(kind, 'it', lambda: asked.append(kind) or b'made')
        keep._versions.cache_clear()
    assert len(asked) == 1 + again


def test_the_code_is_known_by_its_files(tmp_path, monkeypatch):
    (tmp_path / 'a.py').write_text('one')
    monkeypatch.setattr(keep, 'PACKAGE', tmp_path)
    found = [keep._code.__wrapped__()]
    (tmp_path / 'a.py').write_text('two')
    found.append(keep._code.__wrapped__())
    assert found[0] != found[1]
    assert keep._code.__wrapped__() == found[1]


def test_where_nothing_can_be_written_it_is_made_every_time(tmp_path, monkeypatch, asked):
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setattr(keep, 'place', lambda: tmp_path / 'file' / 'kept')
    assert thing(asked) == thing(asked) == b'made'
    assert asked == ['it', 'it']


@pytest.mark.parametrize(('limit', 'value'), [('MOST', 3), ('MOST_BYTES', 3 * (keep.HASH + len(b'made')))])
def test_the_oldest_are_removed(folder, asked, monkeypatch, limit, value):
    monkeypatch.setattr(keep, limit, value)
    for i in range(5):
        thing(asked, str(i))
        for path in folder.iterdir():  # time passes
            found = path.stat()
            os.utime(path, (found.st_atime, found.st_mtime - 10))
    assert len(list(folder.iterdir())) == 3
    thing(asked, '4')
    assert len(asked) == 5
    thing(asked, '0')
    assert len(asked) == 6


def test_the_newest_stays_however_large_it_is(folder, asked, monkeypatch):
    monkeypatch.setattr(keep, 'MOST_BYTES', 1)
    assert thing(asked) == thing(asked) == b'made'
    assert asked == ['it']


def test_it_lies_beside_the_compiled_programs_or_nowhere():
    assert place() == Path(jax.config.values['jax_compilation_cache_dir']) / 'kept'
    cached = jax.config.values['jax_enable_compilation_cache']
    jax.config.update('jax_enable_compilation_cache', False)
    try:
        assert place() is None
    finally:
        jax.config.update('jax_enable_compilation_cache', cached)


def test_what_is_called_otherwise_in_every_process_is_refused(folder):
    with pytest.raises(AssertionError):
        keep.kept('thing', f'{object()}', bytes)
