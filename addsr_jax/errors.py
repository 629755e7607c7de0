"""Errors for people: one line that says what is wrong and what to do, and exit code 2."""

import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what is wrong, where, what to do."""


def guard(command: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Runs a door; a UserError becomes one line on stderr and exit code 2, success is 0."""
    try:
        command(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        sys.stderr.write(f'addsr: {" ".join(str(error).split())}\n')
        return 2
    return 0
