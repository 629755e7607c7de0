"""Batches on the devices ahead of time; the only way from host to device inside the loop."""

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from addsr_jax import sharding

AHEAD = 2


@contextmanager
def prefetch(
    source: Iterator[dict[str, np.ndarray]],
    mesh: Mesh,
    inspect: Callable[[np.ndarray], None],
    waiting: Callable[[int], None] = lambda seconds: None,
) -> Iterator[Iterator[dict[str, jax.Array]]]:
    """Two batches ahead, put on the mesh by one thread; `inspect` sees each batch's 'replaced' flags in its turn.

    The source is closed at the end. An error of it is raised where the batch would have been taken. `waiting` is called
    every second that a batch lets wait for itself, with their number; what it raises ends the waiting.
    """
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def offer(item: Any) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in source:
                numbers = {name: value for name, value in batch.items() if name != 'replaced'}
                offer((sharding.put_batch(numbers, mesh), batch['replaced']))
                if stop.is_set():
                    return
            raise ValueError('the data ended: a data set for training repeats without end')
        except BaseException as error:
            offer(error)

    def taken() -> Any:
        for seconds in itertools.count(1):
            try:
                return ready.get(timeout=1)
            except queue.Empty:
                waiting(seconds)

    def batches() -> Iterator[dict[str, jax.Array]]:
        while True:
            item = taken()
            if isinstance(item, BaseException):
                raise item
            numbers, flags = item
            inspect(flags)
            yield numbers

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield batches()
    finally:
        stop.set()
        thread.join(timeout=10)
        if not thread.is_alive():  # else it hangs in the source, which nobody can close then
            close(source)


def close(source: Iterator[Any]) -> None:
    """Ends a source's workers and frees what they share, where it has any."""
    if hasattr(source, 'close'):
        source.close()  # pyright: ignore
