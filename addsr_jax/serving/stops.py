"""Who has asked for the end of what."""

import threading
import time
from collections import OrderedDict

SESSIONS = 10_000  # that are remembered as stopped
EVERY = ''  # kind of work


class Stops:
    """What ends the work of a session, begun or still in the queue: the button of its kind, or the closed page."""

    def __init__(self) -> None:
        self._running: set[tuple[str, str, threading.Event]] = set()
        self._stopped: OrderedDict[tuple[str, str], float] = OrderedDict()  # when that was, the last ones
        self._lock = threading.Lock()

    def begin(self, session: str, kind: str, asked: float) -> threading.Event:
        """Of work that was asked for at that time of `time.monotonic`; set where it was stopped since."""
        event = threading.Event()
        with self._lock:
            self._running.add((session, kind, event))
            if any(asked < self._stopped.get((session, one), 0.0) for one in (kind, EVERY)):
                event.set()
        return event

    def end(self, session: str, kind: str, event: threading.Event) -> None:
        with self._lock:
            self._running.discard((session, kind, event))

    def stop(self, session: str, kind: str = EVERY) -> bool:
        """Whether any of it runs."""
        with self._lock:
            self._stopped[session, kind] = time.monotonic()
            self._stopped.move_to_end((session, kind))
            while len(self._stopped) > SESSIONS:
                self._stopped.popitem(last=False)
            found = [event for one, of, event in self._running if one == session and kind in (of, EVERY)]
            for event in found:
                event.set()
        return bool(found)

    def stop_all(self) -> None:
        with self._lock:
            for *_, event in self._running:
                event.set()
