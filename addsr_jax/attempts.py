"""Work of libraries that answer damaged files and full disks with exceptions of any kind and pages of complaints."""

import errno
import gc
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from addsr_jax.errors import Momentary, UserError, printable

Value = TypeVar('Value')
FULL = 'No space left on device'
TALKATIVE = ('absl', 'asyncio')  # loggers of Orbax, and of the event loop that it works with
REFUSED = re.compile(
    rf'{FULL}|Disk quota exceeded|[Pp]ermission denied|Operation not permitted|Read-only file system|Forbidden|, 401$|'
    'PERMISSION_DENIED: |UNAUTHENTICATED: '
)
# how tensorstore and XLA begin what tells nothing of a file: they raise few types of exceptions
STATUS = re.compile('(ABORTED|CANCELLED|DEADLINE_EXCEEDED|INTERNAL|RESOURCE_EXHAUSTED|UNAVAILABLE|UNKNOWN): ')
CLIENTS = ('aiohttp', 'fsspec', 'gcsfs', 'google', 'requests')  # packages that raise where a bucket does not answer
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
STRANGE = (errno.EINVAL, errno.ELOOP, errno.ENAMETOOLONG)  # what is there is no file that anybody has written


class Failed(Exception):
    """What went wrong, in a phrase. kind: see `kind_of`."""

    def __init__(self, error: Exception) -> None:
        super().__init__(reason_of(error))
        self.kind = kind_of(error)

    def of_write(self, line: str) -> UserError:
        """For people: `line` and what to do. Where nothing has refused, another start may be able to write."""
        if self.kind is not UserError:
            return Momentary(f'{line}: run the same command again')
        need = 'make room' if str(self) == FULL else 'make room, or see that this user may write there,'
        return UserError(f'{line}: {need} and run the same command again')


def kind_of(error: BaseException) -> type[UserError] | None:
    """What an exception of storage is for people, whatever was raised from it; None: it may tell of what lies there.

    UserError where the same again would not help, as with a full disk or without permission; else Momentary.
    """
    causes, found = [], error
    while found is not None:
        causes.append(found)
        found = found.__cause__
    if any(REFUSED.search(str(cause)) for cause in causes):
        return UserError
    return Momentary if any(map(_is_momentary, causes)) else None


def _is_momentary(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return not isinstance(error, ABSENT) and error.errno not in STRANGE
    of_client = type(error).__module__.partition('.')[0] in CLIENTS
    return of_client or isinstance(error, MemoryError | Momentary) or STATUS.match(str(error)) is not None


@contextmanager
def attempted() -> Iterator[None]:
    """Failed for whatever is raised inside, but for a UserError, which is raised as it is."""
    failed = None
    with quiet():
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            failed = Failed(error)
        if failed is not None:
            gc.collect()  # work that was half done ends here, unheard
    if failed is not None:
        if not isinstance(sys.unraisablehook, WithoutClosedLoops):
            sys.unraisablehook = WithoutClosedLoops(sys.unraisablehook)
        raise failed


@dataclass(frozen=True)
class WithoutClosedLoops:
    """Python's hook for what nobody can catch, but for what ends late of work that has failed."""

    hook: Callable[[Any], object]

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != 'Event loop is closed':
            self.hook(unraisable)


def attempt(work: Callable[[], Value]) -> Value:
    """What `work` returns, `attempted`."""
    with attempted():
        return work()
    raise AssertionError('attempted() swallows nothing')


def write(work: Callable[[], object]) -> None:
    """OSError, as of Python's own files, for whatever a library raises that writes."""
    quiet_in_background()
    try:
        attempt(work)
    except Failed as error:
        raise OSError(str(error)) from error


def reason_of(error: Exception) -> str:
    """The first line of what an exception says, or its kind; of a full disk, whose names are long, that it is full."""
    said = str(error).strip()
    if FULL in said:
        return FULL
    return printable(said.splitlines()[0]) if said else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Libraries keep what they have to say to themselves."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    before, hook = [logger.disabled for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.disabled = True
    sys.unraisablehook = lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def quiet_in_background() -> None:
    """From now on no logger of TALKATIVE tells an exception: whoever waits for the work gets it, and tells it."""
    for name in TALKATIVE:
        logging.getLogger(name).addFilter(_tells_no_exception)


def _tells_no_exception(record: logging.LogRecord) -> bool:
    return not record.exc_info
