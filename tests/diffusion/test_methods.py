"""A method is a value: nothing else of the package asks for its name."""

import re
from pathlib import Path

import pytest

from addsr_jax.diffusion.methods import METHODS, STUDENT, TEACHER, spelled

PACKAGE = Path(__file__).parents[2] / 'addsr_jax'
# a comparison with, a membership in, or a table of methods' names
ASKING = re.compile(
    r"""(==|!=|\bin\b|startswith\()\s*\(?\s*['"](addsr|seesr)\b|['"](addsr|seesr)['"]\s*(==|!=|\bin\b|:)"""
)
STAGE_TABLES = ('stages/table.py', 'training/options.py')  # two stages of training have the names of their methods


def test_no_other_line_asks_for_a_method_by_its_name():
    asking = [
        f'{path.relative_to(PACKAGE)}:{number}: {line.strip()}'
        for path in sorted(PACKAGE.rglob('*.py'))
        if path.relative_to(PACKAGE).as_posix() not in STAGE_TABLES
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1)
        if ASKING.search(line)
    ]
    assert not asking, asking


@pytest.mark.parametrize(
    'line',
    ["if method == 'addsr':", "x in ('seesr', 'addsr')", "STEPS = {'addsr': 4}", "PART = {'addsr': 'student'}"],
)
def test_such_lines_are_found(line):
    assert ASKING.search(line)


def test_methods_have_the_parts_and_steps_of_their_papers():
    assert (STUDENT.part, STUDENT.steps, STUDENT.refines, STUDENT.guided) == ('student', None, True, False)
    assert (TEACHER.part, TEACHER.steps, TEACHER.refines, TEACHER.guided) == ('teacher', 50, False, True)
    assert METHODS == {'addsr': STUDENT, 'seesr': TEACHER}


@pytest.mark.parametrize(
    ('text', 'parts', 'front'),
    [
        ('addsr', (STUDENT, None, False, None), 'addsr'),
        ('addsr-4@0.25', (STUDENT, 4, False, 0.25), 'addsr-4'),
        ('addsr-2x2@0', (STUDENT, 2, True, 0.0), 'addsr-2x2'),
        (' seesr-50 ', (TEACHER, 50, False, None), 'seesr-50'),
    ],
)
def test_a_text_is_taken_apart(text, parts, front):
    found = spelled(text)
    assert (found.method, found.steps, found.antithetic, found.psr_weight) == parts
    assert found.without_weight == front


@pytest.mark.parametrize(
    'text', ['bicubic', 'addsr-', 'addsr-4@', 'seesr-50@1', 'seesr-50x2', 'addsr-4x3', 'addsr-4-4']
)
def test_anything_else_is_no_method(text):
    with pytest.raises(ValueError, match='METHOD-STEPS'):
        spelled(text)
