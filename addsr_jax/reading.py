"""Files read by libraries that answer damaged bytes with exceptions of any kind and pages of complaints."""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from addsr_jax.errors import UserError, printable

Value = TypeVar('Value')
TALKATIVE = ('absl', 'asyncio')  # loggers of Orbax, and of the event loop that it reads with


class Unreadable(Exception):
    """What is wrong with a file, in a phrase."""


def attempt(read: Callable[[], Value]) -> Value:
    """What `read` returns; Unreadable for whatever it raises, but for a UserError, which is raised as it is."""
    with quiet():
        try:
            return read()
        except UserError:
            raise
        except Exception as error:
            reason = reason_of(error)
        gc.collect()  # half-done reads end here, unheard
    raise Unreadable(reason)


def reason_of(error: Exception) -> str:
    """The first line of what an exception says, or its kind."""
    said = str(error).strip()
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
