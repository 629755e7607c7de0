"""What Pillow, tifffile, libtiff and OpenCV would print of a damaged picture, beside their exceptions, is not shown."""

import logging
import threading
import warnings
from typing import Any

import cv2
from PIL import Image

from addsr_jax.data import libtiff

OPENCV = cv2.utils.logging
LOGS = tuple(logging.getLogger(name) for name in ('PIL', 'tifffile'))


class Quiet:
    """While a thread is inside, what Pillow, tifffile, libtiff and OpenCV warn of is not shown, and any size is read.

    All belong to the whole process: the first thread to enter sets, the last to leave resets.
    """

    def __init__(self):
        self.lock, self.inside, self.filters = threading.Lock(), 0, warnings.catch_warnings()
        self.limit, self.handlers, self.levels = Image.MAX_IMAGE_PIXELS, [], [log.level for log in LOGS]
        self.opencv = OPENCV.getLogLevel()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.filters = warnings.catch_warnings()
                self.filters.__enter__()
                warnings.filterwarnings('ignore', module=r'PIL\.')
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self.levels = [log.level for log in LOGS]
                for log in LOGS:
                    log.setLevel(logging.CRITICAL + 1)
                self.handlers = libtiff.silence()
                self.opencv = OPENCV.setLogLevel(OPENCV.LOG_LEVEL_SILENT)
            self.inside += 1

    def __exit__(self, *_: Any) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.filters.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self.limit
                for log, level in zip(LOGS, self.levels, strict=True):
                    log.setLevel(level)
                libtiff.restore(self.handlers)
                OPENCV.setLogLevel(self.opencv)


QUIET = Quiet()
