"""What Pillow and libtiff would print of a damaged picture, beside the exception that says it, is not shown."""

import logging
import threading
import warnings
from typing import Any

from PIL import Image

from addsr_jax.data import libtiff

LOG = logging.getLogger('PIL')


class Quiet:
    """While a thread is inside, no warning and no log of Pillow, and no line of libtiff, is shown; any size is read.

    All belong to the whole process: the first thread to enter sets, the last to leave resets.
    """

    def __init__(self):
        self.lock, self.inside, self.filters = threading.Lock(), 0, warnings.catch_warnings()
        self.limit, self.handlers, self.level = Image.MAX_IMAGE_PIXELS, [], LOG.level

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.filterwarnings('ignore', module=r'PIL\.')
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self.level = LOG.level
                LOG.setLevel(logging.CRITICAL)
                self.handlers = libtiff.silence()
            self.inside += 1

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self.limit
                LOG.setLevel(self.level)
                libtiff.restore(self.handlers)


QUIET = Quiet()
