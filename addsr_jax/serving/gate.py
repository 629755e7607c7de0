"""What stands between the network and gradio: who may come in, which doors there are, and no path of this machine.

gradio names files by their paths on the server. Here they are seen from outside as `/addsr/...`, in requests and in
answers; and of gradio's many doors those are open that the page needs.
"""

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from addsr_jax.errors import printable
from addsr_jax.serving.hosts import is_loopback
from addsr_jax.serving.store import Store

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OUTSIDE = '/addsr'  # what the store's folder is called there
COOKIE = 'addsr-token'  # begins its name
ASKED = 'x-addsr-asked'  # header inside: when a request came, by time.monotonic
API = '/gradio_api/'
FILE = f'{API}file='
PAGES = ('/', '/config', '/theme.css', '/favicon.ico', '/manifest.json', '/robots.txt')
GET = ('/assets/', '/static/', '/svelte/', f'{API}heartbeat/', f'{FILE}{OUTSIDE}/')
GET_API = ('info', 'queue/data', 'queue/status', 'upload_progress', 'startup-events', 'app_id')
POST_API = ('queue/join', 'cancel', 'reset')
UPLOAD = f'{API}upload'
LONGEST = 1_000_000  # bytes of a request that is no upload
HEADERS = (
    (b'x-content-type-options', b'nosniff'),
    (b'x-frame-options', b'SAMEORIGIN'),
    (b'referrer-policy', b'same-origin'),
    (
        b'content-security-policy',
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'",
    ),
)


class Refused(Exception):
    """An HTTP status, and one line for whoever asked."""

    def __init__(self, status: int, line: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers


def _nothing() -> Refused:
    return Refused(404, 'there is nothing here')


class Gate:
    """An ASGI application around gradio's."""

    def __init__(self, app: Any, store: Store, token: str | None, most_bytes: int) -> None:
        """token: without it nobody comes in; None: whoever calls this machine by a name of loopback. most_bytes: of
        one upload."""
        self.app, self.store, self.token, self.most_bytes = app, store, token, most_bytes
        self._inside = str(store.root)
        # a host's ports share its cookies: two pages of one name would log each other's guests out
        self._cookie = f'{COOKIE}-{hashlib.sha256((token or "").encode()).hexdigest()[:8]}'

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        elif scope['type'] == 'websocket':
            await send({'type': 'websocket.close', 'code': 1008})
        else:
            await self._http(dict(scope), receive, send)

    async def _http(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            self._check_caller(scope)
            self._check_door(scope)
            if scope['method'] == 'POST' and scope['path'] != UPLOAD:
                body = self._inwards(await _whole(receive, LONGEST))
                scope['headers'] = _with(scope['headers'], b'content-length', str(len(body)).encode())
                scope['headers'] = _with(scope['headers'], ASKED.encode(), str(time.monotonic()).encode())
                receive = _once(body, receive)
        except Refused as refused:
            await _answer(send, refused)
            return
        asked = scope['path']
        try:
            await (self._upload if asked == UPLOAD else self._pass)(scope, receive, send)
        except Exception as error:  # gradio has answered 500; its traceback would let anybody fill the log
            what = f'{scope["method"]} {asked} failed: {type(error).__name__}: {error}'
            logging.getLogger('addsr').error(printable(what))

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        """One that grows too large is cut off and refused, whatever the app makes of its end."""
        limited = Limited(receive, send, self.most_bytes)
        try:
            await self._pass(scope, limited.receive, limited.send)
        except Exception:  # of the app, which saw its caller go in the middle
            if not limited.is_over:
                raise
        if limited.is_over and not limited.is_answered:
            await _answer(send, self._too_large())

    async def _pass(self, scope: Message, receive: Receive, send: Send) -> None:
        is_file = scope['path'].startswith(FILE)
        if is_file:
            path = self._inside + scope['path'].removeprefix(FILE + OUTSIDE)
            scope['path'], scope['raw_path'] = FILE + path, quote(FILE + path).encode()
            send = _without_reasons(send)
        if not is_file and not scope['path'].startswith(GET[:3]):  # nobody may pack what is to be looked through
            scope['headers'] = [pair for pair in scope['headers'] if pair[0] != b'accept-encoding']
            send = self._outwards(send)
        await self.app(scope, receive, _with_headers(send))

    def _too_large(self) -> Refused:
        return Refused(413, f'these files have more than {self.most_bytes} bytes together')

    def _check_caller(self, scope: Message) -> None:
        """Refused for whoever has no token; with it in the address, it goes into a cookie and out of sight.

        Without one the user's browser could be made to ask by any page; a cookie with SameSite it keeps from others.
        """
        headers = dict(scope['headers'])
        if self.token is None:
            host = headers.get(b'host', b'').decode('latin-1')
            if not is_loopback(re.sub(r':\d*$', '', host).strip('[]')):
                raise Refused(403, 'this page answers to the names of this machine alone: open http://127.0.0.1')
            origin = headers.get(b'origin', b'').decode('latin-1')
            if scope['method'] == 'POST' and origin and origin.partition('://')[2].lower() != host.lower():
                raise Refused(403, 'another page asks for this one: open it by itself, or start it with --token')
            return
        query = parse_qs(scope['query_string'].decode('latin-1'))
        asked = query.pop('token', [''])[0]
        if scope['method'] == 'GET' and scope['path'] == '/' and self._is_token(asked):
            cookie = f'{self._cookie}={quote(asked)}; HttpOnly; SameSite=Lax; Path=/'
            place = './' + ('?' + urlencode(query, doseq=True) if query else '')
            raise Refused(303, 'welcome', ((b'set-cookie', cookie.encode()), (b'location', place.encode())))
        bearer = headers.get(b'authorization', b'').decode('latin-1').removeprefix('Bearer ')
        if not self._is_token(_cookie(headers.get(b'cookie', b''), self._cookie)) and not self._is_token(bearer):
            raise Refused(401, 'this page needs a token: open the address that `addsr serve` has printed')

    def _is_token(self, text: str) -> bool:
        return self.token is not None and hmac.compare_digest(text.encode(), self.token.encode())

    def _check_door(self, scope: Message) -> None:
        method, path = scope['method'], scope['path']
        if '..' in re.split(r'[/\\]', unquote(path)):
            raise _nothing()
        api = path.removeprefix(API) if path.startswith(API) else None
        if path == UPLOAD and method == 'POST':
            if self.store.is_full():
                raise Refused(507, 'there is no room for more uploads at the moment: try again later')
            said = dict(scope['headers']).get(b'content-length', b'')
            if said.isdigit() and int(said) > self.most_bytes:
                raise self._too_large()
        elif method == 'POST':
            if api not in POST_API:
                raise _nothing()
        elif method not in ('GET', 'HEAD') or not (path in PAGES or path.startswith(GET) or api in GET_API):
            raise _nothing()

    def _inwards(self, body: bytes) -> bytes:
        """A request's JSON with paths as they are inside; Refused for any that is not in the store."""
        try:
            data = json.loads(body or b'null')
            return json.dumps(self._inside_of(data)).encode()
        except (ValueError, RecursionError) as error:
            raise Refused(400, 'this is no JSON') from error

    def _inside_of(self, data: Any) -> Any:
        if isinstance(data, list):
            return [self._inside_of(item) for item in data]
        if not isinstance(data, dict):
            return data
        found = {key: self._inside_of(value) for key, value in data.items()}
        if isinstance(path := data.get('path'), str):
            if not path.startswith(f'{OUTSIDE}/') or '/..' in path:
                raise Refused(400, 'this is no file of this page')
            found['path'] = self._inside + path.removeprefix(OUTSIDE)
        return found

    def _outwards(self, send: Send) -> Send:
        """Answers in which the store is called as outside. gradio sends each answer, and each event, in one piece."""
        held: list[Message] = []

        async def sent(message: Message) -> None:
            if message['type'] == 'http.response.start':
                held.append(message)
                return
            if message['type'] == 'http.response.body' and (body := message.get('body')):
                for name in {self._inside, quote(self._inside)}:
                    body = body.replace(name.encode(), OUTSIDE.encode())
                message = {**message, 'body': body}
            if held:
                start = held.pop()
                whole = message['type'] == 'http.response.body' and not message.get('more_body')
                headers = [pair for pair in start['headers'] if pair[0] != b'content-length']
                if whole:
                    headers.append((b'content-length', str(len(message.get('body', b''))).encode()))
                await send({**start, 'headers': headers})
            await send(message)

        return sent


class Limited:
    """A request's pieces up to `most` bytes; above that its sender has gone, and nothing of an answer gets out."""

    def __init__(self, receive: Receive, send: Send, most: int) -> None:
        self._receive, self._send, self._left = receive, send, most
        self.is_answered = False

    @property
    def is_over(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        if not self.is_over:
            message = await self._receive()
            self._left -= len(message.get('body', b''))
        return {'type': 'http.disconnect'} if self.is_over else message

    async def send(self, message: Message) -> None:
        if not self.is_over:
            self.is_answered = True
            await self._send(message)


def _without_reasons(send: Send) -> Send:
    """gradio says of a file that it does not give where it would lie: one line of ours instead."""
    refused = False

    async def sent(message: Message) -> None:
        nonlocal refused
        if message['type'] == 'http.response.start' and message['status'] >= 400:
            refused = True
            await _answer(send, _nothing())
        elif not refused:
            await send(message)

    return sent


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message['type'] == 'http.response.start':
            message = {**message, 'headers': [*message['headers'], *HEADERS]}
        await send(message)

    return sent


async def _answer(send: Send, refused: Refused) -> None:
    body = refused.line.encode()
    headers = [(b'content-type', b'text/plain; charset=utf-8'), (b'content-length', str(len(body)).encode())]
    await _with_headers(send)(
        {'type': 'http.response.start', 'status': refused.status, 'headers': [*headers, *refused.headers]}
    )
    await send({'type': 'http.response.body', 'body': body})


async def _whole(receive: Receive, most: int) -> bytes:
    body = b''
    while True:
        message = await receive()
        body += message.get('body', b'')
        if len(body) > most:
            raise Refused(413, 'this request is too long')
        if not message.get('more_body'):
            return body


def _once(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then what else comes."""
    left = [body]

    async def again() -> Message:
        return {'type': 'http.request', 'body': left.pop(), 'more_body': False} if left else await receive()

    return again


def _with(headers: Any, name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [pair for pair in headers if pair[0] not in (name, b'transfer-encoding')] + [(name, value)]


def _cookie(header: bytes, name: str) -> str:
    try:
        found = SimpleCookie(header.decode('latin-1')).get(name)
    except CookieError:
        return ''
    return unquote(found.value) if found else ''
