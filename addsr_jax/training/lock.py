"""One run at a time in a workdir: a lock of the system's, which ends with the process however that ends.

A bucket has none that would end with a killed process: there it is for people to see to, and is said.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from addsr_jax import places
from addsr_jax.errors import UserError

NAME = '.lock'


@contextmanager
def alone(
    workdir: Path, report: Callable[[str], None], who: str = 'another run trains in', flag: str = '--workdir'
) -> Iterator[None]:
    """While inside nobody else comes in; a UserError where somebody is there already. The folder is made."""
    if places.in_bucket(workdir):
        report(f'{workdir} cannot be locked (a bucket has no locks): see that no other run trains there')
        yield
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        opened = (workdir / NAME).open('a')
    except OSError as error:
        raise UserError(f'{workdir} cannot be written: {error}') from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f'{who} {workdir}: wait until it ends, or choose another {flag}') from error
        except OSError as error:  # some network disks have no locks
            report(f'{workdir} cannot be locked ({error.strerror}): see that nobody else writes there')
        yield
