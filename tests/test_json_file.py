"""JSON of others: read, or refused in one line that names the file."""

import json
import math
import os

import pytest

from addsr_jax import json_file
from addsr_jax.errors import UserError


def test_an_object_is_read(tmp_path):
    (tmp_path / 'a.json').write_text(json.dumps({'a': [1, {'b': 'ö'}]}), encoding='utf-8')
    assert json_file.read(tmp_path / 'a.json', '') == {'a': [1, {'b': 'ö'}]}


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'Expecting value'),
        (b'{"a": 1', 'delimiter'),
        (b'[1, 2]', 'it holds list'),
        (b'\xff\xfe{}', 'codec'),
        (b'{"a": ' + b'[' * 100_000, 'nested too deeply'),
        (b'{"a": ' + b'9' * 10_000 + b'}', 'digits'),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', 'c occurs twice'),
        (b'{"a": NaN}', 'NaN is no number'),
        (b'{"a": [-Infinity]}', '-Infinity is no number'),
        (b'{"a": 1e999}', '1e999 is no number'),
    ],
)
def test_what_is_none_is_refused_with_the_file_s_name_and_what_to_do(tmp_path, content, reason):
    (tmp_path / 'a.json').write_bytes(content)
    with pytest.raises(UserError, match=rf'a\.json cannot be read \(.*{reason}.*\): download it again') as refused:
        json_file.read(tmp_path / 'a.json', 'download it again')
    assert len(str(refused.value)) < 600


def test_brackets_in_texts_are_no_lists(tmp_path):
    count = json_file.MOST_GROUPS // 2 + 1
    names = {f'[raw] {{{i}}}': '[' for i in range(count)}
    (tmp_path / 'a.json').write_text(json.dumps(names))
    assert json_file.of_file(tmp_path / 'a.json', largest=1 << 30) == names
    (tmp_path / 'b.json').write_text('{"a": [' + '[],' * json_file.MOST_GROUPS + '[]]}')
    with pytest.raises(UserError, match='more than 200000 lists and objects'):
        json_file.read(tmp_path / 'b.json', '')


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='No such file'):
        json_file.read(tmp_path / 'a.json', '')
    monkeypatch.setattr(json_file, 'LARGEST', 10)
    (tmp_path / 'a.json').write_text('{"a": "0123456789"}')
    with pytest.raises(UserError, match='19 bytes, more than 10'):
        json_file.read(tmp_path / 'a.json', '')


def test_numbers_that_are_not_finite_are_read_where_they_mean_something(tmp_path):
    (tmp_path / 'a.json').write_text('{"a": NaN, "b": -Infinity}')
    found = json_file.read(tmp_path / 'a.json', '', finite=False)
    assert math.isnan(found['a'])
    assert found['b'] == -math.inf


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'a.json')
    with pytest.raises(UserError, match='no regular file'):
        json_file.read(tmp_path / 'a.json', '')
