"""What a command says when something is wrong, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from addsr_jax.errors import UserError, escaped, guard, printable

ROOT = Path(__file__).parents[1]


def raising(error):
    def command(arguments):
        raise error

    return command


def test_a_user_s_mistake_is_one_line_that_a_terminal_can_take(capsys):
    assert guard(raising(UserError('no\nsuch \x1b[2J file')), []) == 2
    assert capsys.readouterr().err == 'addsr: no such \\x1b[2J file\n'


def test_ctrl_c_is_one_line_and_130(capsys):
    assert guard(raising(KeyboardInterrupt()), []) == 130
    assert capsys.readouterr().err == 'addsr: stopped\n'


def test_what_nobody_expected_is_called_a_fault_of_ours_and_its_traceback_lies_in_a_file(capsys):
    assert guard(raising(ZeroDivisionError('by nothing')), []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'this is a fault of addsr (ZeroDivisionError: by nothing)' in line
    path = Path(line.partition('with ')[2].partition(';')[0])
    assert 'Traceback' in path.read_text()
    path.unlink()


def test_a_traceback_is_shown_to_who_asks_for_it(monkeypatch):
    monkeypatch.setenv('ADDSR_TRACEBACK', '1')
    with pytest.raises(ZeroDivisionError):
        guard(raising(ZeroDivisionError()), [])


def test_a_reader_that_goes_away_ends_a_command_quietly():
    code = (
        'import sys; from addsr_jax.errors import guard; from addsr_jax.flags import say\n'
        'sys.exit(guard(lambda arguments: [say("line") for _ in range(100000)], []))'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b''
    assert process.returncode == 0


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='Linux')
@pytest.mark.parametrize(
    ('where', 'code', 'told'),
    [
        ('>/dev/full', 2, 'addsr: stdout cannot be written: No space left on device\n'),
        ('>&-', 2, 'addsr: stdout is closed: send it to a file, or to /dev/null\n'),
        ('>&- 2>&-', 2, ''),
        ('2>&-', 0, ''),
    ],
)
def test_a_command_that_nobody_can_hear_ends_with_one_line(where, code, told):
    script = (
        'import sys; from addsr_jax.errors import guard; from addsr_jax.flags import say\n'
        'sys.exit(guard(lambda arguments: say("line"), []))'
    )
    command = f'exec "$1" -c "$2" {where}'
    done = subprocess.run(
        ['sh', '-c', command, 'sh', sys.executable, script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (code, told)


@pytest.mark.parametrize(
    ('encoding', 'shown'),
    [
        ('utf-8:strict', b'caf\\udce9 \xf0\x9f\x98\x80\n'),
        ('latin-1:strict', b'caf\\udce9 \\U0001f600\n'),
        ('utf-8:surrogateescape', b'caf\xe9 \xf0\x9f\x98\x80\n'),
    ],
)
def test_a_name_that_stdout_has_no_letters_for_is_said_with_escapes(encoding, shown):
    code = (
        'import os, sys; from addsr_jax.errors import guard; from addsr_jax.flags import say\n'
        'sys.exit(guard(lambda arguments: say(os.fsdecode(b"caf\\xe9 ") + chr(0x1f600)), []))'
    )
    environment = {**os.environ, 'PYTHONIOENCODING': encoding, 'PYTHONUTF8': '1'}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, cwd=ROOT, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, b'')


def test_text_of_others_is_cut():
    assert len(printable('a' * 10_000_000)) == 160
    assert printable('a\n b\t c') == 'a b c'


def test_names_that_are_keys_are_one_line_whole_and_no_two_the_same():
    names = ['a 1', 'a  1', 'a\n1', 'a\\n1', 'a\t1', ' a 1', 'a\xa01', 'a\udce91', 'x' * 5000]
    shown = [escaped(name) for name in names]
    assert len(set(shown)) == len(names)
    assert all(text.isprintable() for text in shown)
    assert shown[:2] == names[:2]


def test_a_name_that_no_disk_can_have_is_the_user_s_mistake(capsys):
    def command(_):
        Path('x' * 300).stat()

    assert guard(command, []) == 2
    said = capsys.readouterr().err
    assert said.startswith('addsr: xxx')
    assert said.endswith('is longer than a path, or a name in it, may be\n')
    assert said.count('\n') == 1
