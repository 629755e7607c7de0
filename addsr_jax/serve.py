"""addsr serve: a page on which photographs become four times larger and sharp.

python -m addsr_jax.serve
"""

import atexit
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from addsr_jax import __version__
from addsr_jax.errors import INTERRUPTED, Cancelled, UserError, complain, guard, printable
from addsr_jax.flags import Parser, require, say, take
from addsr_jax.options import Options, option, unusual
from addsr_jax.restoration import fidelity
from addsr_jax.restoration.computing import MACHINE, Computing
from addsr_jax.restoration.settings import LARGE, Settings
from addsr_jax.serving.hosts import is_loopback
from addsr_jax.serving.limits import LIMITS, Limits

if TYPE_CHECKING:
    from addsr_jax.restoration.files import Job
    from addsr_jax.serving.work import Worker


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """What `serve` takes beside the limits of its page."""

    host: str = option('address to listen on; one that others reach asks for a token', default='127.0.0.1')
    port: int = option('port to listen on; 0: any that is free', default=7860, low=0, high=65535)
    token: str | None = option(
        'what the address of the page ends in; whoever lacks it sees nothing',
        default=None,
        unset='a new one where others reach the page, else none',
    )
    weights: str = option("'nano', a folder of training or convert, or ORG/NAME[@REVISION] of a hub", default='nano')

    def check_together(self) -> None:
        if self.token is not None and len(self.token) < 8:
            raise UserError(
                '--token has fewer than 8 characters: choose a longer one, or leave it out for a random one'
            )

    @property
    def is_private(self) -> bool:
        """Whether nobody but this machine reaches the page."""
        return is_loopback(self.host)


def parser() -> Parser:
    p = Parser('serve', 'Serves a page that restores photographs, on this machine alone unless --host says otherwise.')
    p.order(LIMITS, LARGE, MACHINE)
    p.declare(Command)
    p.declare(Computing, without=('runtime',))  # that shows no steps
    p.declare(Limits)
    p.declare(Settings, without=set(Settings.__dataclass_fields__) - {'tile', 'batch'})
    return p


def main(arguments: Sequence[str]) -> None:
    values = parser().parse_args(arguments)
    command, computing, limits = take(values, Command), take(values, Computing), take(values, Limits)
    require('serve', 'gradio')
    with listen(command.host, command.port) as listening:
        serve(listening, command, computing, limits, take(values, Settings))


def serve(listening: socket.socket, command: Command, computing: Computing, limits: Limits, settings: Settings) -> None:
    """The page until a signal ends it, and none of its files afterwards."""
    from addsr_jax.runtime import prepare

    prepare()
    model = loaded(command.weights, computing, settings.method)
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'  # before gradio is imported
    from addsr_jax.serving import server
    from addsr_jax.serving.store import Store
    from addsr_jax.serving.work import Worker

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what containers send ends it as Ctrl-C does
    token = command.token or (None if command.is_private else secrets.token_urlsafe(24))
    store = Store(60 * limits.keep, 1e9 * limits.disk)
    worker, stop = Worker(model, store, limits, settings, partial(making, command.weights)), threading.Event()
    ahead = threading.Thread(target=warm, args=(worker, stop), daemon=True)
    try:
        for line in invitation(command, listening.getsockname()[1], token):
            say(line)
        ahead.start()
        server.run(worker, listening, token)
    finally:
        stop.set()
        store.close()
        atexit.register(leave, ahead)


def leave(ahead: threading.Thread) -> None:
    """Ends a process that a signal ended; the compiler, where that thread is still in it, would abort it."""
    if ahead.is_alive():
        os._exit(INTERRUPTED)


def warm(worker: 'Worker', stop: threading.Event) -> None:
    """Compiles while people look for their photo: the page need not wait for it, and a first photo seldom does."""
    try:
        say('compiling, or looking up what is compiled; the page is open meanwhile')
        began = time.monotonic()
        worker.warm(stop)
        say(f'ready for the first photo after {time.monotonic() - began:.0f} s')
    except Cancelled:
        return
    except Exception as error:  # a photo that comes says it to whoever sent it
        complain(f'nothing is compiled ahead: {type(error).__name__}: {printable(str(error))}')


def loaded(weights: str, computing: Computing, method: str) -> Any:
    """The model, as a Pipeline; what is fetched for it is told, and what its dial was not measured on."""
    import addsr_jax
    from addsr_jax.weights import hub

    say(f'loading {weights}')
    place = hub.located(weights, say)
    model = addsr_jax.load(place, dtype=computing.dtype, attention=computing.attention, method=method)
    if weights != fidelity.MEASURED_ON:
        say(fidelity.elsewhere(weights))
    return model


def making(weights: str, settings: Settings, job: 'Job', content: str) -> str:
    """What a result says of its making. content: the hash of the picture's file."""
    from addsr_jax.restoration import results

    return results.line(__version__, Path(weights).name, job.source.name, content, **unusual(settings))


def listen(host: str, port: int) -> socket.socket:
    """A socket there; a UserError where somebody else listens, or there is no such address."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise UserError(
            f'nothing can listen on {host} port {port}: {reason}: choose another --host or --port'
        ) from error


def invitation(command: Command, port: int, token: str | None) -> list[str]:
    """What the terminal says: where the page is, and who can see it."""
    host = f'[{command.host}]' if ':' in command.host else command.host
    address = f'http://{host}:{port}/' + (f'?token={quote(token, safe="")}' if token else '')
    if command.is_private:
        return [address]
    return [
        f'warning: whoever reaches port {port} of this machine and has the address below can use it, and the '
        'connection is not encrypted: put a proxy with TLS before it',
        address,
    ]


if __name__ == '__main__':
    sys.exit(guard(main))
