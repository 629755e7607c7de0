"""What libtiff prints on the process's stderr, beside the exception that Pillow makes of it, can be turned off here."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image


@cache
def _setters() -> tuple[Any, ...]:
    """libtiff's two functions that set a handler and return the last; none where Pillow's wheel brings no libtiff."""
    package = Path(Image.__file__).parent
    for folder in (package.parent / 'pillow.libs', package / '.dylibs'):  # of wheels for Linux, and for macOS
        for file in folder.glob('libtiff[.-]*'):
            library = ctypes.CDLL(str(file))  # the one that Pillow has loaded
            setters = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
            for setter in setters:
                setter.restype, setter.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            return setters
    return ()


def silence() -> list[int | None]:
    """Nothing is printed from now on; what was there before is returned for `restore`."""
    return [setter(None) for setter in _setters()]


def restore(handlers: list[int | None]) -> None:
    for setter, handler in zip(_setters(), handlers, strict=True):
        setter(handler)
