"""What the doors share: flags whose mistakes are one line, and lines on stdout."""

import argparse
import importlib.util
import sys
from collections.abc import Callable

from addsr_jax.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are UserErrors, and whose help says every default."""

    def __init__(self, command: str, description: str):
        super().__init__(
            prog=f'addsr {command}',
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str):
        raise UserError(f'{self.prog.removeprefix("addsr ")}: {message}: see {self.prog} --help')


def number(kind: type, low: float, high: float) -> Callable[[str], float]:
    """An argparse type: a number of that kind in low..high."""

    def parse(text: str):
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f'{text!r} is no {kind.__name__}') from error
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'{text} is not in {low}..{high}')
        return value

    return parse


def require(extra: str, *modules: str) -> None:
    """A UserError where an extra of the package is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} is not installed: pip install 'addsr-jax[{extra}]'")


def say(line: str) -> None:
    """One line on stdout, at once."""
    sys.stdout.write(line + '\n')
    sys.stdout.flush()
