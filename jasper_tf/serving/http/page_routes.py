"""The page of the live server, and the numbers of its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response

from jasper_tf.errors import UserError
from jasper_tf.inference.recording import open_recording
from jasper_tf.io.memory_file import in_memory
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.channel_limit import validate_channels
from jasper_tf.serving.http.inference_worker import InferenceWorker
from jasper_tf.serving.http.picture_data import LONGEST_S, picture_data
from jasper_tf.serving.http.server_settings import ServerSettings

_FOLDER = Path(__file__).parent / "page"
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {
    # Nothing but the server's own files: no inline script, no other host, no frame around it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PICTURE_S = 20.0
"""How much of a recording the page shows at a time, seconds."""
_MOST_BYTES = 16_000_000
"""Of a recording for pictures: half a minute of 48 kHz, stereo, 32 bits is less."""


def create_page_router(settings: ServerSettings) -> APIRouter:
    """The routes `/`, `/page/...` and `/v1/analysis`; they use `app.state.worker`."""
    router = APIRouter()
    files = {path.relative_to(_FOLDER).as_posix(): path for path in _FOLDER.rglob("*") if path.suffix in _TYPES}

    @router.get("/", include_in_schema=False)
    def index() -> Response:
        return _answer(files["index.html"])

    @router.get("/page/about.json", include_in_schema=False)
    def about(request: Request) -> dict[str, Any]:
        worker: InferenceWorker = request.app.state.worker
        return {
            "ready": worker.is_ready,
            "model": settings.model_name,
            "sample_rate": worker.transcriber.model.sample_rate if worker.transcriber else None,
            "needs_key": bool(settings.api_key),
            "max_upload_bytes": settings.max_upload_bytes,
            "picture_s": _PICTURE_S,
        }

    @router.get("/page/{name:path}", include_in_schema=False)
    def file(name: str) -> Response:
        if name not in files:
            raise ApiError(404, f"/page/{name[:60]}: no such file; the page is at /", "unknown_url")
        return _answer(files[name])

    @router.post("/v1/analysis")
    async def analysis(request: Request) -> dict[str, Any]:
        """Spectrogram and posteriors of a recording of up to 30 s, which is the body (WAV, FLAC, ...)."""
        worker: InferenceWorker = request.app.state.worker
        worker.require_ready()
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > _MOST_BYTES:
                raise ApiError(413, f"more than {_MOST_BYTES:,} bytes; send at most 30 s", "too_large")
        assert worker.transcriber is not None
        model = worker.transcriber.model
        audio = await run_in_threadpool(_decode, bytes(content), model.sample_rate)
        return await worker.run(picture_data, model, audio)

    return router


def _answer(path: Path) -> Response:
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS)


def _decode(content: bytes, sample_rate: int) -> np.ndarray:
    # As a file: its header is read before the samples.
    with in_memory(content) as path:
        try:
            recording = open_recording(path, sample_rate)
            validate_channels(recording.channels)
            if recording.samples > LONGEST_S * sample_rate:
                seconds = recording.samples / sample_rate
                raise ApiError(413, f"a recording of {seconds:.0f} s; send at most {LONGEST_S:g} s", "audio_too_long")
            return recording.whole()
        except ApiError:
            raise
        except UserError as error:
            raise ApiError(400, f"the body {str(error).partition(': ')[2] or error}", "invalid_audio") from None
