"""The page itself, in gradio's components."""

import logging
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from addsr_jax.data.formats import ENDINGS
from addsr_jax.errors import Cancelled, UserError, printable
from addsr_jax.serving import loupe
from addsr_jax.serving.gate import ASKED
from addsr_jax.serving.stops import Stops
from addsr_jax.serving.work import USUAL, WORDS, Batch, Finished, Step, Worker

FAULT = 'something went wrong on the server, which has written it down: try again, or another photo'
STOPPING, STOPPED = 'Stopping ...', 'Stopped.'
ONE, SEVERAL = 'one photo', 'several photos'  # one of each kind at a time; they take turns at the model
MARKS = re.compile(r'[\\`*_{}\[\]()#|~@]|(?<=www)\.', re.IGNORECASE)  # that mean something to Markdown inside a line
LONGEST_LIST = 20  # photos that were left out and are named on the page


def build(worker: Worker, stops: Stops) -> gr.Blocks:
    """The page with its queue. The folder of `worker.store` becomes gradio's, so one process has one page."""
    os.environ['GRADIO_TEMP_DIR'] = str(worker.store.root)
    with gr.Blocks(title='addsr', analytics_enabled=False) as page:
        gr.Markdown(
            f'# addsr\nPhotographs four times larger and sharp. Pictures of up to {worker.limits.max_pixels / 1e6:g} '
            f'megapixels; uploads and results are removed after {worker.limits.keep:g} minutes.'
        )
        with gr.Tab('One photo'):
            _one(worker, stops)
        with gr.Tab('Several photos'):
            _several(worker, stops)

        def closed(request: gr.Request) -> None:
            stops.stop(_session(request))

        page.unload(closed)
    page.preprocess_data = _quietly(page.preprocess_data)  # pyright: ignore[reportAttributeAccessIssue]
    page.queue(max_size=worker.limits.waiting, api_open=False)
    return page


def _one(worker: Worker, stops: Stops) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            file = gr.File(label='Photo', file_types=sorted(ENDINGS), elem_id='photo')
            words = _dial()
            with gr.Row():
                start, stop = _buttons('one')
            status = _status('status')
            download = gr.DownloadButton('Download', interactive=False, elem_id='download')
        with gr.Column(scale=2):
            slider = gr.ImageSlider(
                label='Before and after', type='filepath', interactive=False, buttons=['fullscreen'], elem_id='compare'
            )
            gallery = gr.Gallery(
                label='Every step', columns=5, height=200, buttons=[], elem_id='steps', object_fit='contain'
            )
            magnifier = gr.HTML(js_on_load=loupe.JS, elem_id='magnifier')

    def restore(path: str | None, words: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        if path is None:
            raise gr.Error('drop a photo first', print_exception=False)
        yield {
            status: 'Reading ...',
            gallery: [],
            slider: None,
            magnifier: '',
            download: gr.DownloadButton(interactive=False),
        }
        told: list[tuple[str, str]] = []
        before = Path()
        for work in _guarded(worker, stops, request, ONE, lambda stop: worker.photo(Path(path), words, stop)):
            if isinstance(work, Step):
                before = before if work.number else work.preview
                told.append((str(work.small), f'step {work.number}' if work.number else 'bicubic'))
                yield {
                    status: f'Step {work.number} of {work.count}',
                    gallery: list(told),
                    slider: (str(before), str(work.preview)),
                    magnifier: loupe.shown(before, work.preview, Path(path).name),
                }
            elif isinstance(work, Finished):
                width, height = work.size
                remarks = ''.join(f'; {plain(remark)}' for remark in work.remarks)
                button = gr.DownloadButton(value=str(work.file), interactive=True)
                yield {status: f'Done: {width} x {height} pixels{remarks}', download: button}
            else:
                yield {status: STOPPED}

    shown = [status, gallery, slider, magnifier, download]
    start.click(restore, [file, words], shown, api_name='restore', concurrency_id=ONE)
    _stopping(stop, status, stops, ONE, 'stop')


def _several(worker: Worker, stops: Stops) -> None:
    most = worker.limits.max_files
    found = gr.File(
        label=f'Photos, {most} at most', file_count='multiple', file_types=sorted(ENDINGS), elem_id='photos'
    )
    words = _dial()
    with gr.Row():
        start, stop = _buttons('all')
    status = _status('batch-status')
    download = gr.DownloadButton('Download all', interactive=False, elem_id='download-all')

    def restore(paths: list[str] | None, words: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        if not paths:
            raise gr.Error('drop some photos first', print_exception=False)
        yield {status: 'Reading ...', download: gr.DownloadButton(interactive=False)}
        chosen = [Path(path) for path in paths]
        for batch in _guarded(worker, stops, request, SEVERAL, lambda stop: worker.photos(chosen, words, stop)):
            if isinstance(batch, Cancelled):
                yield {status: STOPPED}
            elif batch.file is None:
                yield {status: _progress(batch)}
            else:
                button = gr.DownloadButton(value=str(batch.file), interactive=True)
                yield {status: _progress(batch), download: button}

    start.click(restore, [found, words], [status, download], api_name='restore_all', concurrency_id=SEVERAL)
    _stopping(stop, status, stops, SEVERAL, 'stop_all')


def _status(name: str) -> gr.Markdown:
    return gr.Markdown(elem_id=name, latex_delimiters=[])  # two dollars in a file's name begin no formula


def _dial() -> gr.Radio:
    return gr.Radio(
        list(WORDS),
        value=USUAL,
        label='How',
        info='from faithful, which invents least, to detailed, which is sharpest',
    )


def _buttons(name: str) -> tuple[gr.Button, gr.Button]:
    return (
        gr.Button('Restore', variant='primary', elem_id=f'restore-{name}'),
        gr.Button('Stop', variant='stop', elem_id=f'stop-{name}'),
    )


def _stopping(button: gr.Button, status: gr.Markdown, stops: Stops, kind: str, name: str) -> None:
    """What runs ends after the tile in hand, what waits as soon as its turn comes."""

    def stop(request: gr.Request) -> str:
        return STOPPING if stops.stop(_session(request), kind) else STOPPED

    button.click(stop, None, status, concurrency_limit=None, api_name=name)


def plain(text: str) -> str:
    """As Markdown that shows it letter by letter: names of files are anybody's."""
    return escape(MARKS.sub(r'\\\g<0>', text))


def _quietly(taken: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """How gradio takes a request's values, where one that does not fit is a line for its sender and none in the log."""

    async def quiet(*values: Any, **rest: Any) -> Any:
        try:
            return await taken(*values, **rest)
        except gr.Error as error:
            line = str(error.message)
        except Exception:  # of gradio, at values that the page does not send
            line = 'these are no values that the page sends'
        raise gr.Error(escape(printable(line, 600)), print_exception=False)

    return quiet


def _session(request: gr.Request) -> str:
    return request.session_hash or ''


def _guarded(
    worker: Worker, stops: Stops, request: gr.Request, kind: str, work: Callable[[threading.Event], Iterator[Any]]
) -> Iterator[Any]:
    """The work of a session, at the end Cancelled where it was stopped.

    Whatever goes wrong is one line on the page, and what nobody expected is in the log.
    """
    session, asked = _session(request), request.headers.get(ASKED)
    event = stops.begin(session, kind, float(asked) if asked else 0.0)
    try:
        yield from work(event)
    except Cancelled as stopped:
        yield stopped
    except UserError as error:
        raise gr.Error(escape(printable(worker.told(error), 600)), print_exception=False) from None
    except Exception:  # the last net: one request ends, the page goes on
        logging.getLogger('addsr').exception('a request failed')
        raise gr.Error(FAULT, print_exception=False) from None
    finally:
        event.set()
        stops.end(session, kind, event)


def _progress(batch: Batch) -> str:
    """Markdown."""
    text = (
        f'Done: {batch.done - len(batch.left_out)} of {batch.count}' if batch.file else f'{batch.done} of {batch.count}'
    )
    lines = ''.join(f'\n- left out: {plain(line)}' for line in batch.left_out[:LONGEST_LIST])
    more = len(batch.left_out) - LONGEST_LIST
    return text + ('\n' + lines if lines else '') + (f'\n- and {more} more' if more > 0 else '')
