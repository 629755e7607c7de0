"""One process that serves the page, from the socket to the model."""

import logging
import socket
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from gradio.themes import Default

from addsr_jax.serving import aloud, loupe, page
from addsr_jax.serving.gate import Gate
from addsr_jax.serving.stops import Stops
from addsr_jax.serving.work import Worker

PATIENCE = 1  # seconds that open connections have at the end
FONTS = ['system-ui', 'sans-serif']  # of the browser: nothing is fetched from elsewhere


def run(worker: Worker, listening: socket.socket, token: str | None) -> None:
    """Serves until a signal ends it; the store stays the caller's."""
    logging.getLogger('httpx').setLevel(logging.WARNING)
    stops = Stops()
    gate = Gate(mounted(worker, stops), worker.store, token, worker.limits.max_bytes * worker.limits.max_files)
    config = uvicorn.Config(
        gate, log_level='warning', access_log=False, server_header=False, timeout_graceful_shutdown=PATIENCE
    )
    try:
        Server(config).run(sockets=[listening])
    finally:
        stops.stop_all()


class Server(uvicorn.Server):
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Open pages hold a connection for ever: that it is cut off at the end is no error to tell."""
        logging.getLogger('uvicorn.error').setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


def mounted(worker: Worker, stops: Stops) -> Any:
    """gradio's application with no page but ours, and none of its services."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    return gr.mount_gradio_app(
        app,
        page.build(worker, stops),
        path='/',
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=worker.limits.max_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=Default(font=FONTS, font_mono=['ui-monospace', 'monospace']),
        css=loupe.CSS,
        js=aloud.JS,
    )
