"""What a file may cost to be refused or listed, and whether a call kept to it: seconds, memory, and how it ended."""

import contextlib
import io
import os
import pickle
import pickletools
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from addsr_jax.errors import UserError, printable

MEMORY, PER_BYTE = 300e6, 4  # bytes for any file, and for each of its own
SECONDS, SPEED = 2.0, 50e6  # for any file; bytes of a file that are read in one more
# ... of a processor on which the standard library reads so many names of a pickle in so many seconds
NAMES, USUAL = 60_000, 0.1
ROOM = 6 << 30  # bytes of address space, beyond which a call meets MemoryError: a bomb must not end the machine
# what Python tells its audit hooks of before a program starts, a pickle looks up a name, or a library is loaded
EXECUTED = (
    *('os.system', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.fork', 'os.startfile', 'pty.spawn', 'subprocess.Popen'),
    *('pickle.find_class', 'socket.connect'),
)


@dataclass(frozen=True)
class Measured:
    """One call on one file."""

    outcome: str  # 'listed', 'refused', 'EXECUTED', 'RAW', or the class of an exception that nobody should see
    detail: str  # the one line of a refusal or of an exception
    seconds: float
    memory: int  # bytes at the peak beyond those before the call

    @property
    def bad(self) -> bool:
        return self.outcome not in ('listed', 'refused')

    def breaks(self, size: int) -> str:
        """What of the rule a file of `size` bytes has broken, in words; '' for nothing."""
        wrong = [self.outcome] if self.bad else []
        most = SECONDS + size / SPEED
        wrong += ['too slow'] if self.seconds > most and self.seconds > most * slowness() else []
        wrong += ['too large'] if self.memory > MEMORY + PER_BYTE * size else []
        return ', '.join(wrong)


def slowness() -> float:
    """How many times as long as the processor of the rule this one takes just now; 1 where it is quicker."""
    names = b'\x80\x02' + b'ctorch\nFloatStorage\n' * NAMES + b'.'

    def once() -> float:
        began = time.process_time()
        sum(1 for _ in pickletools.genops(names))
        return time.process_time() - began

    return max(1.0, statistics.median(once() for _ in range(5)) / USUAL)


class Watch:
    """Names of what was executed since `clear`; an audit hook can be added, but never removed."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: object) -> None:
        if event in EXECUTED:
            self.seen.append(event)


def peak() -> tuple[int, int]:
    """Bytes of memory at the highest since `forget_peak`, and now (Linux)."""
    fields = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(fields['VmHWM'].split()[0]) * 1024, int(fields['VmRSS'].split()[0]) * 1024


def forget_peak() -> None:
    """The peak begins anew at what is used now."""
    Path('/proc/self/clear_refs').write_text('5')


def called(call: Callable[[], list[str]], watch: Watch) -> Measured:
    """Runs a call that returns lines for a terminal, in this process."""
    watch.seen.clear()
    forget_peak()
    before, began = peak()[1], time.process_time()
    try:
        lines = call()
        outcome, detail = 'listed', f'{len(lines)} lines'
        if raw := next((line for line in lines if not line.isprintable()), None):
            outcome, detail = 'RAW', ascii(raw)
    except UserError as error:
        outcome, detail = 'refused', printable(str(error), 400)
    except BaseException as error:
        outcome, detail = type(error).__name__, printable(str(error), 400)
    seconds = time.process_time() - began  # of all threads: others may use the machine too
    used = peak()[0] - before
    return Measured('EXECUTED' if watch.seen else outcome, ' '.join(watch.seen) or detail, seconds, used)


def in_a_child(call: Callable[[], list[str]], seconds: int = 20) -> Measured:
    """As `called`, in a process of its own, whose end comes after `seconds` of the processor: 'hangs', or a signal."""
    hears, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(hears)
        with contextlib.suppress(BaseException):
            resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            signal.alarm(3 * seconds)  # for one that waits
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = called(call, Watch())
            os.write(tells, pickle.dumps(found))
        os._exit(0)
    os.close(tells)
    with os.fdopen(hears, 'rb') as pipe:
        data = pipe.read()
    status = os.waitpid(child, 0)[1]
    if data:
        return pickle.loads(data)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    how = 'hangs' if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (9, 14, 24) else f'ended by {status}'
    return Measured(how, '', float(seconds), used.ru_maxrss * 1024)
