"""The command that makes the documents' tables again."""

import sys

import pytest

from benchmarks import blocks, evidence
from benchmarks.evidence import PIECES, ROOT, Piece

TABLE = "print('| first |\\n\\nof files | 1\\n\\n| a | b |\\n| --- | --- |\\n| 1 | 2 |\\n\\nend')"


@pytest.mark.parametrize('name', PIECES)
def test_every_piece_has_its_command_and_its_blocks_where_they_are_looked_for(name):
    piece = PIECES[name]
    script = piece.command[1].replace('.', '/') + '.py' if piece.command[0] == '-m' else piece.command[0]
    assert (ROOT / script).is_file()
    for document, block in piece.blocks:
        assert len(blocks.pattern(block).findall((ROOT / document).read_text(encoding='utf-8'))) == 1


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A repository with one document, and a piece whose command counts how often it runs."""
    (tmp_path / 'docs').mkdir()
    (tmp_path / 'docs' / 'a.md').write_text('before\n<!-- t: made by x -->\n\nold\n\n<!-- /t -->\nafter\n')
    count = f"open({str(tmp_path / 'runs')!r}, 'a').write('x'); "
    pieces = {
        'table': Piece(('-c', count + TABLE), (('docs/a.md', 't'),)),
        'pairs': Piece(('-c', 'pass', '{lq}')),
        'broken': Piece(('-c', 'raise SystemExit(3)')),
    }
    monkeypatch.setattr(evidence, 'ROOT', tmp_path)
    monkeypatch.setattr(evidence, 'PIECES', pieces)
    (tmp_path / 'work').mkdir()
    return tmp_path


def test_the_last_table_that_is_printed_stands_in_the_document_and_is_made_once(house):
    for _ in range(2):
        assert evidence.made(['table'], house / 'work', {}) == {}
    text = (house / 'docs' / 'a.md').read_text()
    assert text == 'before\n<!-- t: made by x -->\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n<!-- /t -->\nafter\n'
    assert (house / 'runs').read_text() == 'x'


def test_all_that_is_printed_stands_there_where_a_piece_says_so(house, monkeypatch):
    piece = Piece(('-c', TABLE), (('docs/a.md', 't'),), text=evidence.PRINTED)
    monkeypatch.setattr(evidence, 'PIECES', {'all': piece})
    assert evidence.made(['all'], house / 'work', {}) == {}
    text = (house / 'docs' / 'a.md').read_text()
    assert text.startswith('before\n<!-- t: made by x -->\n\n| first |\n\nof files | 1\n')
    assert text.endswith('\nend\n\n<!-- /t -->\nafter\n')


def test_what_cannot_be_made_is_named_and_the_rest_is_made(house, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['evidence', '--workdir', str(house / 'work'), '--only', *evidence.PIECES])
    with pytest.raises(SystemExit) as ended:
        evidence.main()
    said = capsys.readouterr().out
    assert ended.value.code == 1
    assert 'pairs: not made: needs --lq' in said
    assert 'broken: not made: exit code 3' in said
    assert '-old' in said
    assert '+| 1 | 2 |' in said


def test_a_document_without_the_block_is_an_error(tmp_path):
    (tmp_path / 'a.md').write_text('nothing')
    with pytest.raises(SystemExit, match='has no block t'):
        blocks.replace_block(tmp_path / 'a.md', 't', 'x')
