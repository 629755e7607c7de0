"""Who has asked for the end of what."""

import threading
import time
from collections import OrderedDict

SESSIONS = 10_000  # that are remembered as stopped


class Stops:
    """What ends the work of a session, begun or still in the queue: its button, or its closed page."""

    def __init__(self) -> None:
        self._running: set[tuple[str, threading.Event]] = set()
        self._stopped: OrderedDict[str, float] = OrderedDict()  # when a session was, the last ones
        self._lock = threading.Lock()

    def begin(self, session: str, asked: float) -> threading.Event:
        """Of work that was asked for at that time of `time.monotonic`; set where it was stopped since."""
        event = threading.Event()
        with self._lock:
            self._running.add((session, event))
            if asked < self._stopped.get(session, 0.0):
                event.set()
        return event

    def end(self, session: str, event: threading.Event) -> None:
        with self._lock:
            self._running.discard((session, event))

    def stop(self, session: str) -> None:
        with self._lock:
            self._stopped[session] = time.monotonic()
            self._stopped.move_to_end(session)
            while len(self._stopped) > SESSIONS:
                self._stopped.popitem(last=False)
            for one, event in self._running:
                if one == session:
                    event.set()

    def stop_all(self) -> None:
        with self._lock:
            for _, event in self._running:
                event.set()
