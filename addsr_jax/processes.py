"""Several processes of one run: how they join, who writes what all share, and what has to be whole on one host."""

import os
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from addsr_jax import sharding
from addsr_jax.attempts import reason_of
from addsr_jax.errors import FAULT, UserError, complain
from addsr_jax.trees import Tree

HEARTBEAT = 30  # seconds without a sign of life after which a process counts as dead, and the others end
JOINING = 300  # seconds that the first one waits for the last
HASH = 16  # bytes
PIECE = 8 * 2**20  # bytes that one process gives to the others at once, and that each device holds meanwhile


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Makes this process one of several; without arguments jax asks the slice or cluster that it runs on.

    A UserError is a mistake that the same command would make again. Where the others cannot be reached, or a port is
    taken, the process ends with 1: the next start may find them.
    """
    try:
        if coordinator is not None and process:
            _reach(coordinator)
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            heartbeat_timeout_seconds=HEARTBEAT,
            initialization_timeout=JOINING,
        )
    except (RuntimeError, OSError) as error:
        complain(f'this process cannot join the others: {reason_of(error)}')
        sys.exit(1)
    except ValueError as error:
        raise UserError(
            f'this process cannot join the others ({reason_of(error)}): on a cluster that jax does not know give '
            '--coordinator HOST:PORT --processes N --process I, the same HOST:PORT everywhere'
        ) from error


def _reach(coordinator: str) -> None:
    """Returns when process 0 listens; OSError where it does not. jax would end this process without a word of ours."""
    host, _, port = coordinator.rpartition(':')
    deadline = time.monotonic() + JOINING
    while True:
        try:
            socket.create_connection((host.strip('[]'), int(port)), timeout=10).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise OSError(f'nothing listens at {coordinator} after {JOINING} s ({reason_of(error)})') from error
            time.sleep(1)


def first() -> bool:
    """Whether this is the process that prints, and writes what all share."""
    return jax.process_index() == 0


def several() -> bool:
    return jax.process_count() > 1


def sharing(mesh: Mesh | None) -> list[int]:
    """Those that work for a mesh: every process where it has devices of all, else this one alone."""
    found = set() if mesh is None else {device.process_index for device in mesh.devices.flat}
    return sorted(found) if len(found) == jax.process_count() else [jax.process_index()]


def wait(name: str) -> None:
    """Until every process has come here."""
    if several():
        multihost_utils.sync_global_devices(name)


def from_all(value: np.ndarray) -> np.ndarray:
    """[processes, ...]: an array of every process, all of one shape and dtype; all ask together."""
    return np.asarray(multihost_utils.process_allgather(value)) if several() else value[None]


def numbers_of_all(own: Sequence[int]) -> list[list[int]]:
    """Hashes, numbers below 2**128, of every process, as many of each; all ask together."""
    content = np.frombuffer(b''.join(number.to_bytes(HASH) for number in own), np.uint8)
    return [
        [int.from_bytes(made[at : at + HASH]) for at in range(0, len(made), HASH)]
        for made in (given.tobytes() for given in from_all(content))
    ]


def from_one(content: np.ndarray | None, size: int, giver: int) -> np.ndarray:
    """[size] bytes that process `giver` gives and the others (None) get; all ask together.

    They go through the devices' network in pieces of one size, so that one program serves all and little of a device's
    memory is taken.
    """
    found = np.empty(size, np.uint8)
    for start in range(0, size, PIECE):
        piece = np.zeros(PIECE, np.uint8)
        length = min(PIECE, size - start)
        if content is not None:
            piece[:length] = content[start : start + length]
        words = multihost_utils.broadcast_one_to_all(piece.view(np.uint32), jax.process_index() == giver)
        found[start : start + length] = np.asarray(words).view(np.uint8)[:length]
    return found


@contextmanager
def until_all_are_done(name: str) -> Iterator[None]:
    """Whoever has done its part, or made a mistake of its own, waits: an end without the others would end them."""
    try:
        yield
    except UserError:
        wait(name)
        raise
    wait(name)


def on_first_host(tree: Tree, mesh: Mesh) -> Tree | None:
    """Leaves that lie on devices of several processes, whole and on the host of the first one; elsewhere None.

    All processes ask together. One leaf after the other, so that no device holds more than one of them whole.
    """
    if not several():
        return tree
    whole = jax.tree.map(lambda leaf: _whole(leaf, mesh), tree)
    return whole if first() else None


def _whole(leaf: jax.Array | np.ndarray, mesh: Mesh) -> np.ndarray | None:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        # waited for by all: a process that ran ahead would have several exchanges under way, which may pass each other
        leaf = jax.block_until_ready(jax.device_put(leaf, sharding.replicated(mesh)))
    return np.asarray(leaf) if first() else None


@contextmanager
def ending_together() -> Iterator[None]:
    """What ends this process ends it at once, with its reason, and the others after a heartbeat.

    Python's own way out would wait for the others, which wait for this one in the middle of a step.
    """
    try:
        yield
    except BaseException as error:
        if not several():
            raise
        if isinstance(error, UserError):
            complain(f'process {jax.process_index()}: {error}')
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, UserError) else FAULT)
