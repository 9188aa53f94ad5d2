"""The live server's application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from jasper_tf import __version__
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.http import operations
from jasper_tf.serving.http.api_error import add_error_handlers
from jasper_tf.serving.http.inference_worker import InferenceWorker
from jasper_tf.serving.http.live.live_socket import create_live_router
from jasper_tf.serving.http.openai import model_list, transcriptions
from jasper_tf.serving.http.page_routes import create_page_router
from jasper_tf.serving.http.request_gate import RequestGate
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings


def create_app(
    settings: ServerSettings,
    load: Callable[[], tuple[Transcriber, DecodingConfig]],
    on_ready: Callable[[], None] = lambda: None,
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Returns the application; the model is loaded when it starts, in the background.

    `app.state` has `settings`, `metrics`, `worker` (the `InferenceWorker`), and once it runs `stopping`, a future that
    is done when the server is being stopped.

    Args:
        settings: of the server.
        load: returns the transcriber and the section `decoding` that it uses; called in the inference thread.
        on_ready: called in that thread when the model is warm.
        on_failure: called in that thread when `load` fails; `worker.failure` says why.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.stopping = asyncio.get_running_loop().create_future()
        worker.start()
        yield
        await asyncio.to_thread(worker.stop)

    # The pages of FastAPI that describe the interface load their scripts from elsewhere.
    app = FastAPI(title="jasper-tf", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    metrics = ServerMetrics()
    worker = InferenceWorker(load, settings, metrics, on_ready, on_failure)
    app.state.settings, app.state.metrics, app.state.worker = settings, metrics, worker
    add_error_handlers(app)
    own = (create_page_router(settings), create_live_router(settings, metrics))
    for router in (operations.router, transcriptions.router, model_list.router, *own):
        app.include_router(router)
    app.add_middleware(RequestGate, settings=settings, metrics=metrics, stopping=lambda: app.state.stopping)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return app
