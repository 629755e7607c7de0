"""The page in a real browser, and its server under what browsers do not do: the whole of `addsr serve`."""

import itertools
import json
import os
import re
import secrets
import threading
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from addsr_jax.serving.page import plain
from addsr_jax.weights import bundle as bundles
from benchmarks.served import NO_BROWSER, chromium, running
from tests import tiny
from tests.data import photos
from tests.data.test_pictures import png

MOST = 300_000  # bytes of an upload


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp('serve')
    bundles.save(tiny.bundle(tiny.LEAST), place / 'model', 'safetensors')
    limits = ('--max_bytes', str(MOST), '--max_files', '3', '--max_pixels', '200000')
    with running(place / 'run', '--weights', str(place / 'model'), '--tile', '192', *limits) as found:
        yield found


@pytest.fixture(scope='module')
def http(server):
    """Plain requests to the page."""
    with httpx.Client(base_url=server.address, timeout=30) as found:
        yield found


@pytest.fixture(scope='module')
def browser():
    """A headless Chromium, the system's."""
    path = chromium()
    if path is None:
        pytest.fail(NO_BROWSER) if os.environ.get('CI') else pytest.skip(NO_BROWSER)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=['--no-sandbox'])
        yield found
        found.close()


@pytest.fixture
def visit(browser, server):
    """Opens the page as one more person, whose requests all have to succeed."""
    opened, refused = [], []

    def new():
        person = browser.new_context()
        opened.append(person)
        page = person.new_page()
        page.set_default_timeout(60_000)
        page.on('response', lambda answer: refused.append(answer.url) if answer.status >= 400 else None)
        page.goto(server.address)
        return page

    yield new
    for person in opened:
        person.close()
    assert not refused


@pytest.fixture
def photo(tmp_path):
    """Writes a photograph of that width and height."""

    def written(name='photo.jpg', width=24, height=16):
        path = tmp_path / name
        picture = Image.fromarray(photos.crops(1, 64)[0]).resize((width, height))
        picture.save(path, exif=picture.getexif())
        return path

    return written


def drop(page, path):
    page.set_input_files('#photo input[type=file]', path)
    page.locator('#photo .file-preview').get_by_text(path.stem).wait_for()


def wait(page, text):
    page.locator('#status').get_by_text(text).wait_for()


def saved(page, button, place):
    with page.expect_download() as download:
        page.click(button)
    path = place / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_a_photo_is_dropped_restored_step_by_step_compared_and_taken_away(visit, photo, tmp_path):
    page = visit()
    drop(page, photo())
    page.get_by_label('detailed', exact=True).first.check()
    page.click('#restore-one')
    wait(page, 'Done: 96 x 64 pixels')
    captions = page.locator('#steps .caption-label').all_inner_texts()
    assert captions == ['bicubic', 'step 1', 'step 2', 'step 3', 'step 4']
    before, after = (image.get_attribute('src') for image in page.locator('#compare img').all()[:2])
    assert before != after
    assert all('/gradio_api/file=/addsr/' in source for source in (before, after))
    box = page.locator('#compare').bounding_box()
    handle = page.locator('#compare .outer').first
    start = handle.bounding_box()['x']
    handle.hover()
    page.mouse.down()
    page.mouse.move(box['x'] + 0.7 * box['width'], box['y'] + box['height'] / 2, steps=4)
    page.mouse.up()
    assert handle.bounding_box()['x'] > start + 20
    page.locator('#magnifier .loupe > img').hover(position={'x': 9, 'y': 9})
    assert page.locator('#magnifier .lens.after').evaluate('lens => lens.style.backgroundSize') == '288px 192px'
    path = saved(page, '#download', tmp_path)
    assert path.name == 'photo_x4.jpg'
    with Image.open(path) as result:
        assert result.size == (96, 64)
        made = json.loads(result.getexif()[11])
    assert (made['source'], made['weights'], made['fidelity']) == ('photo.jpg', 'model', 0.3)


def test_the_magnifier_is_moved_by_keys_and_pictures_and_progress_have_words(visit, photo):
    page = visit()
    drop(page, photo('my photo.jpg'))
    page.click('#restore-one')
    wait(page, 'Done')
    assert page.locator('#status').get_attribute('aria-live') == 'polite'
    assert [image.get_attribute('alt') for image in page.locator('#compare img').all()[:2]] == ['before', 'after']
    large = page.get_by_alt_text('my photo.jpg, restored: arrow keys move the magnifier')
    lens = page.locator('#magnifier .lens.after')
    large.focus()
    scrolled = page.evaluate('window.scrollY')
    places = [lens.evaluate('lens => lens.style.backgroundPosition')]
    for key in ('ArrowRight', 'ArrowDown', 'ArrowDown'):
        page.keyboard.press(key)
        places.append(lens.evaluate('lens => lens.style.backgroundPosition'))
    right, down, more = (np.subtract(a, b) for a, b in itertools.pairwise(map(pixels, places)))
    assert [list(moved) for moved in (right, down, more)] == [[16, 0], [0, 16], [0, 16]]
    assert page.evaluate('window.scrollY') == scrolled  # the keys are the magnifier's alone
    page.get_by_role('tab', name='Several photos').click()
    assert page.locator('#batch-status').get_attribute('aria-live') == 'polite'


def pixels(place):
    """Of '-3px 4.5px'."""
    return [round(float(number.removesuffix('px')), 3) for number in place.split()]


def test_a_name_is_shown_letter_by_letter(visit, tmp_path):
    page, name = visit(), '_a_ www.d.example __b__.png'
    (tmp_path / name).write_bytes(b'')
    page.get_by_role('tab', name='Several photos').click()
    page.set_input_files('#photos input[type=file]', tmp_path / name)
    page.locator('#photos .file-preview').wait_for()
    page.click('#restore-all')
    status = page.locator('#batch-status')
    status.get_by_text('left out').wait_for()
    assert f'left out: {name} cannot be read' in status.inner_text()
    assert not status.locator('a, em, strong').count()


def test_what_means_something_to_markdown_is_escaped_in_any_line():
    assert plain('*a* [b](c) #1 <i> www.d x@y `z`') == (r'\*a\* \[b\]\(c\) \#1 &lt;i&gt; www\.d x\@y \`z\`')


def test_stop_on_a_tab_where_nothing_runs_says_so_and_leaves_the_other_s_work_alone(visit, photo):
    page = visit()
    page.click('#stop-one')
    wait(page, 'Stopped.')
    drop(page, photo('large.png', 160, 150))
    page.click('#restore-one')
    wait(page, 'Step 0 of 1')
    page.get_by_role('tab', name='Several photos').click()
    page.click('#stop-all')
    page.locator('#batch-status').get_by_text('Stopped.').wait_for()
    page.get_by_role('tab', name='One photo').click()
    wait(page, 'Done: 640 x 600 pixels')


def test_what_is_no_picture_is_one_line_on_the_page_which_goes_on(visit, photo, tmp_path):
    page = visit()
    bad = tmp_path / 'notes.png'
    bad.write_text('no picture')
    drop(page, bad)
    page.click('#restore-one')
    toast = page.locator('.toast-body')
    toast.wait_for()
    assert 'notes.png cannot be read as an image: it is no JPEG' in toast.inner_text()
    assert '/tmp' not in toast.inner_text()
    page.locator('.toast-close').click()
    page.click('#photo [aria-label="Clear"], #photo [aria-label="Remove this file"]')
    drop(page, photo())
    page.click('#restore-one')
    wait(page, 'Done')


def test_two_people_at_once_get_their_own_picture_each(visit, photo):
    pages = [visit(), visit()]
    for page, size in zip(pages, ((24, 16), (16, 24)), strict=True):
        drop(page, photo(f'of {size[0]}.png', *size))
    for page in pages:
        page.click('#restore-one')
    for page, size in zip(pages, ('96 x 64', '64 x 96'), strict=True):
        wait(page, f'Done: {size}')
    sources = [{image.get_attribute('src') for image in page.locator('img').all()} for page in pages]
    assert not sources[0] & sources[1] - {None}
    assert 'of 16' not in pages[0].content()
    assert 'of 24' not in pages[1].content()


def test_stop_and_a_closed_page_end_the_work_and_the_next_person_is_served(visit, photo, server):
    large, before = photo('large.png', 320, 300), set(server.store.iterdir())
    page = visit()
    drop(page, large)
    page.click('#restore-one')
    wait(page, 'Step 0 of 1')
    page.click('#stop-one')
    wait(page, 'Stopped.')
    page.click('#restore-one')
    wait(page, 'Step 0 of 1')
    page.context.close()
    page = visit()
    drop(page, photo('small.png'))
    page.click('#restore-one')
    wait(page, 'Done')
    stopped = [place for place in set(server.store.iterdir()) - before if (place / 'in/large.png').exists()]
    assert len(stopped) == 2
    assert not [place for place in stopped if (place / 'out').exists()]


def test_several_photos_come_as_one_zip_that_says_what_was_left_out(server, http, photo, tmp_path):
    (tmp_path / 'empty.png').write_bytes(b'')
    (tmp_path / 'huge.png').write_bytes(png(20_000, 10_000, 8, 2, b''))
    client = server.client()
    paths = [photo('a.png'), tmp_path / 'empty.png', tmp_path / 'huge.png']
    job = client.submit([handle_file(str(path)) for path in paths], 'balanced', api_name='/restore_all')
    told, file = job.result()
    assert 'Done: 1 of 3' in told
    assert '- left out: huge.png cannot be read as an image: it has more than 200000 pixels' in told
    assert '- left out: empty.png cannot be read as an image' in told
    assert str(server.temporary) not in str(job.outputs())
    name = file['value']['path'] if isinstance(file, dict) else file
    found = http.get(f'/gradio_api/file={name}')
    (tmp_path / 'all.zip').write_bytes(found.content)
    with zipfile.ZipFile(tmp_path / 'all.zip') as archive:
        assert archive.namelist() == ['a_x4.png', 'left out.txt']
        with archive.open('a_x4.png') as picture:
            assert np.asarray(Image.open(picture)).shape == (64, 96, 3)


REFUSED = [
    (lambda photo: photo, 'loud', 'is not in the list of choices'),
    (lambda photo: None, 'balanced', 'drop a photo first'),
]


@pytest.mark.parametrize(('given', 'words', 'message'), REFUSED, ids=[m for _, _, m in REFUSED])
def test_what_cannot_be_done_is_one_line(server, photo, given, words, message):
    path = given(photo())
    with pytest.raises(AppError, match=message) as raised:
        server.client().predict(path and handle_file(str(path)), words, api_name='/restore')
    assert 'Traceback' not in str(raised.value)
    assert str(server.temporary) not in str(raised.value)


def test_an_upload_whose_time_is_over_is_to_be_dropped_again(server, http, photo):
    (path,) = upload(http, photo().read_bytes(), 'old.jpg').json()
    next(server.store.glob('*/old.jpg')).unlink()
    sent = {
        'data': [{'path': path, 'meta': {'_type': 'gradio.FileData'}}, 'balanced'],
        'fn_index': 0,
        'session_hash': 'a',
    }
    assert http.post('/gradio_api/queue/join', json=sent).status_code == 200
    with http.stream('GET', '/gradio_api/queue/data', params={'session_hash': 'a'}) as events:
        text = ''.join(events.iter_text())
    assert 'old.jpg is no longer here: drop it again' in text


def upload(http, content, name='a.png'):
    return http.post('/gradio_api/upload', files={'files': (name, content)})


def test_uploads_above_the_limit_are_refused_and_leave_nothing(server, http, photo):
    before = sum(1 for path in server.store.rglob('*') if path.is_file())
    assert upload(http, b'x' * (MOST + 1)).status_code == 413
    assert upload(http, b'x' * (4 * MOST)).status_code == 413
    assert sum(1 for path in server.store.rglob('*') if path.is_file()) == before
    four = [handle_file(str(photo(f'{number}.png'))) for number in range(4)]
    with pytest.raises(AppError, match='these are 4 photos: drop 3 at most'):
        server.client().predict(four, 'balanced', api_name='/restore_all')


def test_fifty_uploads_at_once_are_all_taken(http):
    answers = {}

    def send(number):
        answers[number] = upload(http, f'picture {number}'.encode(), f'{number}.png')

    threads = [threading.Thread(target=send, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        (path,) = answer.json()
        assert http.get(f'/gradio_api/file={path}').text == f'picture {number}'
    assert len(answers) == 50


def test_no_answer_names_a_folder_of_the_server_and_closed_doors_stay_closed(server, http, photo):
    seen = [http.get('/' + path).text for path in ('', 'config', 'gradio_api/info', 'theme.css')]
    answer = upload(http, photo().read_bytes())
    seen.append(answer.text)
    assert re.fullmatch(r'\["/addsr/[0-9a-f]{64}/a.png"\]', answer.text)
    missing = http.get('/gradio_api/file=/addsr/nothing.png')
    assert (missing.status_code, missing.text) == (404, 'there is nothing here')
    for path in ('file=/etc/passwd', f'file={server.store}', 'file=/addsr/../../etc/passwd', 'file=http://127.0.0.1/'):
        refused = http.get(f'/gradio_api/{path}')
        assert refused.status_code in (403, 404), path
        seen.append(refused.text)
    for door in ('monitoring', 'docs', 'gradio_api/vibe-code', 'gradio_api/proxy=http://127.0.0.1/', 'runs'):
        assert http.get('/' + door).status_code == 404
    for door in ('gradio_api/vibe-edit', 'gradio_api/process_recording', 'gradio_api/run/restore', 'login'):
        assert http.post('/' + door, json={}).status_code == 404
    broken = http.post('/gradio_api/queue/join', json={'data': 'nonsense'})
    assert broken.status_code == 422
    for text in (*seen, broken.text):
        assert not [
            word for word in (str(server.temporary), 'site-packages', str(Path.home()), os.getcwd()) if word in text
        ]
        assert 'Traceback' not in text


def told_in_lines(server, before):
    """Whether the log grew by whole lines of the gate alone. They are not counted: a line is written after its answer
    went out, so that one of the request before may still arrive."""
    new = server.log.read_text().removeprefix(before)
    return re.fullmatch(r'((GET|POST) /\S+ failed: \w+: .*\n|ready for the first photo after .*\n)*', new)


STRAY = [
    (0, [{'path': 'UPLOADED', 'meta': {'_type': 'gradio.FileData'}}, 'balanced']),  # a text
    (0, [{'path': '/addsr/0/nothing.png', 'meta': {'_type': 'gradio.FileData'}}, 'balanced']),
    (0, [{'path': '/addsr/', 'meta': {'_type': 'gradio.FileData'}}, 'balanced']),
    (0, [{'path': 'UPLOADED'}, 'balanced']),
    (0, [None, None]),
    (0, [None, {'a': []}]),
    (0, ['a', 'b']),
    (0, []),
    (2, [[None, 3], 'balanced']),
    (999, []),
    (-1, []),
]


@pytest.mark.parametrize(('number', 'values'), STRAY, ids=str)
def test_a_request_that_the_page_does_not_send_is_told_in_lines_without_a_traceback(server, http, number, values):
    (path,) = upload(http, b'a text', 'text.txt').json()
    values = json.loads(json.dumps(values).replace('UPLOADED', path))
    before = server.log.read_text()
    sent = {'data': values, 'fn_index': number, 'session_hash': secrets.token_hex(4)}
    if http.post('/gradio_api/queue/join', json=sent).status_code == 200:
        with http.stream('GET', '/gradio_api/queue/data', params={'session_hash': sent['session_hash']}) as events:
            told = ''.join(events.iter_text())
        assert '"success":false' in told
        assert str(server.temporary) not in told
    assert told_in_lines(server, before)


def test_an_upload_without_files_is_told_in_lines_without_a_traceback(server, http):
    before = server.log.read_text()
    empty = {'content': b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\n\r\n--x--\r\n'}
    for sent in ({'data': {'files': ''}}, {**empty, 'headers': {'content-type': 'multipart/form-data; boundary=x'}}):
        assert http.post('/gradio_api/upload', **sent).status_code >= 400
    assert told_in_lines(server, before)


def test_a_text_among_photos_is_refused_by_its_ending(server, tmp_path):
    path = tmp_path / 'notes.txt'
    path.write_text('no picture')
    with pytest.raises(AppError, match='Invalid file type'):
        server.client().predict(handle_file(str(path)), 'balanced', api_name='/restore')


def test_the_server_is_quiet(server):
    """Last: nothing of what was tried above was a fault."""
    said = server.log.read_text()
    assert 'a request failed' not in said
    assert 'Traceback' not in said
