"""Work of libraries that answer damaged files and full disks with exceptions of any kind and pages of complaints."""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from addsr_jax.errors import UserError, printable

Value = TypeVar('Value')
FULL = 'No space left on device'
TALKATIVE = ('absl', 'asyncio')  # loggers of Orbax, and of the event loop that it works with


class Failed(Exception):
    """What went wrong, in a phrase."""


@contextmanager
def attempted() -> Iterator[None]:
    """Failed for whatever is raised inside, but for a UserError, which is raised as it is."""
    reason = None
    with quiet():
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            reason = reason_of(error)
        if reason is not None:
            gc.collect()  # work that was half done ends here, unheard
    if reason is not None:
        raise Failed(reason)


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
