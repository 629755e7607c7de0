"""Errors for people: one line that says what is wrong and what to do, and exit code 2.

Below the guards hangs a last net: what nobody expected is one line too, and says that the fault is ours.
"""

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

LONGEST = 160  # characters of somebody's text in a message
FAULT, INTERRUPTED = 1, 130  # exit codes


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what is wrong, where, what to do.

    More arguments are more lines, where one alone would hide what is wrong.
    """

    code = 2  # of the process

    def __str__(self) -> str:
        return '\n'.join(map(str, self.args))


class Momentary(UserError):
    """Nobody's mistake: storage that does not answer, memory that is short. The same command may work another time."""

    code = 1


class PictureError(UserError):
    """A picture that cannot be read, or restored; other pictures can."""


class Cancelled(UserError):
    """The caller's `progress` asked for the end."""


class Incomplete(UserError):
    """Most of the work is done, and what is not has been named."""

    code = 3


def printable(text: str, longest: int = LONGEST) -> str:
    """On one line, cut, with escapes for what a terminal would not print."""
    line = ' '.join(text[: 4 * longest].split())
    line = line if len(line) <= longest else line[: longest - 3] + '...'
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def escaped(text: str) -> str:
    """On one line and whole, for names that are keys: no two have the same one, as `printable` may give them."""
    return ''.join(c if c.isprintable() and c != '\\' else ascii(c)[1:-1] for c in text)


def guard(command: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Runs a door; success is 0, a UserError one line on stderr and its code, Ctrl-C 130, a fault 1.

    A reader that has gone away (`| head`) ends it quietly.
    """
    try:
        command(list(sys.argv[1:] if arguments is None else arguments))
        if sys.stdout is not None:
            put('')
    except UserError as error:
        for line in error.args:
            complain(str(line))
        return error.code
    except KeyboardInterrupt:
        complain('stopped')
        return INTERRUPTED
    except BrokenPipeError:
        _leave_stdout()
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return _told(error)
        complain(f'{printable(os.fsdecode(error.filename or ""))} is longer than a path, or a name in it, may be')
        return UserError.code
    except Exception as error:
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    """What nobody expected, as one line; raised where somebody wants to see it."""
    if os.environ.get('ADDSR_TRACEBACK'):
        raise error
    complain(fault(error))
    return FAULT


def fault(error: Exception) -> str:
    """The line for an exception that nobody expected, whose traceback lies in a file."""
    what = f'{type(error).__name__}: {printable(str(error))}'
    try:
        with tempfile.NamedTemporaryFile('w', prefix='addsr-', suffix='.txt', delete=False, encoding='utf-8') as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return f'this is a fault of addsr ({what}): ADDSR_TRACEBACK=1 shows where'
    return f'this is a fault of addsr ({what}): please report it with {file.name}; ADDSR_TRACEBACK=1 shows it here'


def put(text: str) -> None:
    """Text on stdout, at once; a UserError where that is closed, or its disk is full."""
    if sys.stdout is None:
        raise UserError('stdout is closed: send it to a file, or to /dev/null')
    try:
        sys.stdout.write(_written(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _leave_stdout()
        raise UserError(f'stdout cannot be written: {error.strerror}') from error


def _written(text: str, stream: TextIO) -> str:
    """With escapes for what the stream's encoding lacks, as stderr has them: names of files can hold any bytes."""
    encoding = getattr(stream, 'encoding', None) or 'utf-8'
    try:
        text.encode(encoding, getattr(stream, 'errors', None) or 'strict')
    except UnicodeEncodeError:
        return text.encode(encoding, 'backslashreplace').decode(encoding)
    return text


def _leave_stdout() -> None:
    """What is still to be written goes nowhere, or Python complains when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    """One line on stderr that a terminal can take; nothing where nobody listens."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(f'addsr: {printable(line, 4096)}\n')
            sys.stderr.flush()
