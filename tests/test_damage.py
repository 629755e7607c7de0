"""A sample of the damages that `benchmarks/damage.py` tries whole."""

import random

import pytest

from benchmarks import damage

TRIED = 4


@pytest.mark.parametrize('name', ['two', 'one', 'final', 'safetensors', 'exported'])
def test_damaged_files_give_the_same_numbers_or_are_said(tmp_path, name):
    target = damage.TARGETS[name](tmp_path / name)
    wanted, _ = target.read(damage.shutil.copytree(target.folder, tmp_path / 'whole'))
    for case in random.Random(0).sample(list(damage.cases(target)), TRIED):
        assert damage.outcome(target, *case, wanted) in (damage.SAME, damage.OLDER, damage.REFUSED), case


def test_numbers_that_change_unsaid_would_be_found(tmp_path):
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / 'file').write_bytes(b'1234')
    target = damage.Target('x', tmp_path / 'x', tmp_path / 'x', lambda copy: ((copy / 'file').read_text(), False))
    found = {damage.outcome(target, *case, '1234') for case in damage.cases(target)}
    assert {damage.SILENT, damage.FAULT} <= found
