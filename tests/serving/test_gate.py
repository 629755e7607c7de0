"""The gate in front of gradio, around an application that tells what reached it."""

import asyncio
import json
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from addsr_jax import serve
from addsr_jax.serving.gate import Gate

ROOT = '/srv/secret place'


SEEN = {}  # of the last request that came through


async def telling(scope, receive, send):
    """Answers with a path as it is inside."""
    body, more = b'', True
    while more:
        message = await receive()
        body, more = body + message.get('body', b''), message.get('more_body', False)
    SEEN.update(path=scope['path'], raw_path=scope['raw_path'], body=body, headers=dict(scope['headers']))
    text = json.dumps({'path': f'{ROOT}/a', 'url': quote(f'{ROOT}/a')}).encode()
    length = (b'content-length', str(len(text)).encode())
    await send({'type': 'http.response.start', 'status': 200, 'headers': [length]})
    await send({'type': 'http.response.body', 'body': text})


def ask(method, path, *, token=None, full=False, host='127.0.0.1:7860', most=1000, app=telling, **rest):
    store = SimpleNamespace(root=ROOT, is_full=lambda: full)
    gate = Gate(app, store, token, most)

    async def asked():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url=f'http://{host}') as client:
            return await client.request(method, path, **rest)

    return asyncio.run(asked())


def test_paths_are_other_ones_inside_and_outside():
    sent = {'data': [{'path': '/addsr/ab/photo.png', 'meta': {}}, 'text', 3]}
    answer = ask('POST', '/gradio_api/queue/join', json=sent)
    assert json.loads(SEEN['body'])['data'] == [{'path': f'{ROOT}/ab/photo.png', 'meta': {}}, 'text', 3]
    assert float(SEEN['headers'][b'x-addsr-asked']) > 0
    assert answer.json() == {'path': '/addsr/a', 'url': '/addsr/a'}
    assert int(answer.headers['content-length']) == len(answer.content)
    ask('GET', '/gradio_api/file=/addsr/ab/photo one.png')
    assert SEEN['path'] == f'/gradio_api/file={ROOT}/ab/photo one.png'
    assert SEEN['raw_path'] == quote(SEEN['path']).encode()


@pytest.mark.parametrize('path', ['/etc/passwd', '/addsr/../etc/passwd', 'http://127.0.0.1/', f'{ROOT}/a', 'addsr/a'])
def test_a_request_names_no_file_but_the_page_s(path):
    assert ask('POST', '/gradio_api/queue/join', json={'data': [[{'path': path}]]}).status_code == 400


@pytest.mark.parametrize(
    ('method', 'path'),
    [
        ('GET', '/docs'),
        ('GET', '/gradio_api/file=/etc/passwd'),
        ('GET', '/gradio_api/file=http://10.0.0.1/'),
        ('POST', '/gradio_api/run/restore'),
        ('POST', '/login'),
        ('POST', '/'),
        ('DELETE', '/config'),
    ],
)
def test_what_the_page_does_not_need_is_closed(method, path):
    assert ask(method, path).status_code == 404


@pytest.mark.parametrize('up', ['%2e%2e/', '%2e%2e%2f', '%252e%252e/', '%252e%252e%252f', '%2e%2e%5c', 'a/%2e%2e/'])
def test_a_path_that_climbs_does_not_reach_the_application(up):
    SEEN.clear()
    answer = ask('GET', f'/gradio_api/file=/addsr/{up}secret place/a.png')
    assert (answer.status_code, answer.text) == (404, 'there is nothing here')
    assert not SEEN
    assert ask('GET', '/gradio_api/file=/addsr/ab/a..b.png').status_code == 200


@pytest.mark.parametrize('status', [403, 404, 500])
def test_of_a_file_that_is_not_given_nothing_is_said_but_that(status):
    async def refusing(scope, receive, send):
        await send({'type': 'http.response.start', 'status': status, 'headers': []})
        await send({'type': 'http.response.body', 'body': f'not allowed: {scope["path"]}'.encode()})

    answer = ask('GET', '/gradio_api/file=/addsr/nothing.png', app=refusing)
    assert (answer.status_code, answer.text) == (404, 'there is nothing here')


def test_what_breaks_in_the_application_is_one_line_of_the_log(caplog):
    def broken(request):
        raise KeyError('999\nTraceback')

    app = Starlette(routes=[Route('/{path:path}', broken, methods=['GET', 'POST'])])
    for method, door in (('POST', 'queue/join'), ('POST', 'upload'), ('GET', 'info'), ('GET', 'file=/addsr/a.png')):
        caplog.clear()
        assert ask(method, f'/gradio_api/{door}', app=app).status_code in (404, 500)
        (record,) = [record for record in caplog.records if record.name == 'addsr']
        assert record.getMessage().startswith(f'{method} /gradio_api/{door} failed: KeyError')
        assert not record.exc_info
        assert '\n' not in record.getMessage()


def test_requests_that_are_no_json_too_long_or_too_deep_are_refused():
    join = '/gradio_api/queue/join'
    assert ask('POST', join, content=b'{').status_code == 400
    assert ask('POST', join, content=b'[' * 200_000).status_code == 400
    assert ask('POST', join, content=b' ' * 1_000_001).status_code == 413


def test_uploads_end_at_the_limit_and_where_there_is_no_room():
    assert ask('POST', '/gradio_api/upload', content=b'x' * 1000).status_code == 200
    assert ask('POST', '/gradio_api/upload', content=b'x' * 1001).status_code == 413
    assert ask('POST', '/gradio_api/upload', content=b'x', full=True).status_code == 507


def test_several_files_above_the_limit_together_are_refused_once_through_the_app_s_middleware():
    async def unread(request):
        SEEN['began'] = True
        await request.body()
        SEEN['ended'] = True

    async def pieces():
        for _ in range(3):
            yield b'x' * 400

    app = Starlette(routes=[Route('/gradio_api/upload', unread, methods=['POST'])])
    SEEN.clear()
    files = [('files', (f'{i}.png', b'x' * 400)) for i in range(3)]
    answer = ask('POST', '/gradio_api/upload', files=files, app=app)
    assert (answer.status_code, answer.text) == (413, 'these files have more than 1000 bytes together')
    assert not SEEN  # it said its length
    answer = ask('POST', '/gradio_api/upload', content=pieces(), app=app)
    assert (answer.status_code, answer.text) == (413, 'these files have more than 1000 bytes together')
    assert SEEN == {'began': True}


def test_without_a_token_only_names_of_this_machine_are_answered():
    for host in ('localhost', 'localhost:7860', '127.0.0.1', '[::1]:7860'):
        assert ask('GET', '/config', host=host).status_code == 200
    assert ask('GET', '/config', host='evil.example:7860').status_code == 403


@pytest.mark.parametrize('host', ['127.0.0.1', '127.0.0.2', '::1', 'localhost', 'LOCALHOST'])
def test_the_address_that_is_printed_without_a_token_is_answered(host):
    command = serve.Command(host=host)
    assert command.is_private
    (address,) = serve.invitation(command, 7860, None)
    assert ask('GET', '/config', host=address.removeprefix('http://').removesuffix('/')).status_code == 200


def test_without_a_token_no_other_page_in_the_browser_may_upload_or_ask():
    for path, rest in (('upload', {'content': b'x'}), ('queue/join', {'json': {'data': []}})):
        for origin in ('https://evil.example', 'http://localhost:3000', 'http://127.0.0.1:8080', 'null'):
            answer = ask('POST', f'/gradio_api/{path}', headers={'origin': origin}, **rest)
            assert (origin, answer.status_code) == (origin, 403)
        own = {'origin': 'http://127.0.0.1:7860'}
        assert ask('POST', f'/gradio_api/{path}', headers=own, **rest).status_code == 200


def test_with_a_token_nobody_comes_in_without_it_and_it_leaves_the_address():
    token = 'sesame-öffne'
    for headers in ({}, {'cookie': 'addsr-token=wrong'}, {'authorization': 'Bearer wrong'}, {'cookie': b'\xff=;;'}):
        assert ask('GET', '/config', token=token, headers=headers).status_code == 401
    assert ask('GET', '/?token=wrong', token=token).status_code == 401
    assert ask('GET', '/config?token=sesame-öffne', token=token).status_code == 401
    welcome = ask('GET', '/?token=sesame-öffne&__theme=dark', token=token, host='photos.example')
    assert (welcome.status_code, welcome.headers['location']) == (303, './?__theme=dark')
    cookie, *flags = welcome.headers['set-cookie'].split('; ')
    assert 'HttpOnly' in flags
    assert ask('GET', '/config', token=token, headers={'cookie': cookie}).status_code == 200
    bearer = {'authorization': 'Bearer plain'}
    assert ask('GET', '/config', token='plain', headers=bearer).status_code == 200


def test_two_pages_of_one_host_with_tokens_of_their_own_keep_their_guests():
    jar = {}  # a browser's, of all ports of the host
    for token in ('one', 'two'):
        name, value = ask('GET', f'/?token={token}', token=token).headers['set-cookie'].split(';')[0].split('=')
        jar[name] = value
    cookie = '; '.join(f'{name}={value}' for name, value in jar.items())
    for token in ('one', 'two'):
        assert ask('GET', '/config', token=token, headers={'cookie': cookie}).status_code == 200
    assert ask('GET', '/config', token='three', headers={'cookie': cookie}).status_code == 401


def test_the_printed_address_brings_any_token_through_the_gate():
    token = 'ab+c/d&e#f% ü'
    (*_, address) = serve.invitation(serve.Command(host='0.0.0.0', token=token), 7860, token)
    welcome = ask('GET', address.removeprefix('http://0.0.0.0:7860'), token=token)
    assert welcome.status_code == 303
    cookie = welcome.headers['set-cookie'].split('; ')[0]
    assert ask('GET', '/config', token=token, headers={'cookie': cookie}).status_code == 200


def test_every_answer_tells_browsers_to_load_nothing_from_elsewhere():
    for answer in (ask('GET', '/'), ask('GET', '/docs'), ask('GET', '/assets/a.js')):
        assert answer.headers['content-security-policy'].startswith("default-src 'self'")
        assert answer.headers['x-content-type-options'] == 'nosniff'
