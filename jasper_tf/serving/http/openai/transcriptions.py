"""Routes of OpenAI's audio interface: `/v1/audio/transcriptions` and `/v1/audio/translations`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartParser

from jasper_tf.errors import AudioError, UserError, shorten
from jasper_tf.inference.transcript import Transcript
from jasper_tf.io.memory_file import in_memory
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.inference_worker import InferenceWorker
from jasper_tf.serving.http.openai.transcription_form import TranscriptionForm
from jasper_tf.serving.http.openai.transcription_formats import json_values, text_body, verbose_values
from jasper_tf.serving.http.recognition import Recognition, RecognitionOptions


class _RequestRoute(APIRoute):
    """A route whose endpoint takes the request alone, without FastAPI's search for parameters at every request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


router = APIRouter(route_class=_RequestRoute)

_KEEP_ALIVE_S = 15.0
"""A stream of events says this often that it is alive: proxies close silent connections."""
_PAUSE_S = 0.5
"""Between looks at what is settled, each of which joins all pieces so far."""
_STATUS = {"not_audio": 415, "too_long": 413, "unreadable": 503}
_OF_MANIFESTS = re.compile(r" or remove it$")
"""The end of messages about a file of a manifest: "repair or remove it"."""


@router.post("/v1/audio/transcriptions")
async def transcriptions(request: Request) -> Response:
    """Transcribes a recording; the fields are those of `TranscriptionForm`."""
    worker: InferenceWorker = request.app.state.worker
    worker.require_room()  # before the recording is read
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        message = f"Content-Type {shorten(kind, 60)!r}: send the fields as multipart/form-data"
        raise ApiError(415, message, "unsupported_content_type")
    progress = asyncio.Event()
    notify = partial(asyncio.get_running_loop().call_soon_threadsafe, progress.set)
    with contextlib.ExitStack() as files:
        try:
            fields = await request.form(max_files=1, max_fields=1000)
            for upload in (value for value in fields.values() if isinstance(value, UploadFile)):
                files.callback(upload.file.close)
            form = TranscriptionForm.read(fields)
            if form.overrides or form.needs_beam or not _is_in_memory(form.upload):
                options, path = await run_in_threadpool(_prepare, worker, form, files)
            else:  # another thread would take longer to begin
                options, path = _prepare(worker, form, files)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            message = f"The upload could not be stored ({reason}); try again later."
            raise ApiError(503, message, "storage_failed") from None
        recognition = worker.submit(path, options, notify)
        held = files.pop_all()
    # The file goes when nobody waits any more, also where the client has left.
    recognition.future.add_done_callback(lambda _: held.close())
    name = shorten(form.upload.filename or "the file", 80)
    if form.stream:
        events = _events(worker, recognition, form, name, progress)
        # A recording that cannot be read has an answer with its own status.
        started = _prepend(await anext(events), events)
        return StreamingResponse(started, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    transcript = await _result(request, recognition, name)
    return _response(worker, form, transcript)


@router.post("/v1/audio/translations")
async def translations(request: Request) -> Response:
    """Says that there is no translation."""
    message = "This server transcribes and does not translate; use /v1/audio/transcriptions."
    raise ApiError(400, message, "unsupported_endpoint")


def _prepare(
    worker: InferenceWorker, form: TranscriptionForm, files: contextlib.ExitStack
) -> tuple[RecognitionOptions, str]:
    assert worker.decoders is not None
    decoder = worker.decoders.get(form.overrides, form.needs_beam)
    if form.hot_words:
        worker.decoders.validate_hot_words(form.hot_words, decoder)
    return RecognitionOptions(decoder, form.hot_words, form.needs_words), _path(form.upload, files)


def _path(upload: UploadFile, files: contextlib.ExitStack) -> str:
    """A path of the recording, which lasts as long as `files`; libraries need one."""
    spooled: Any = upload.file
    if _is_in_memory(upload):
        return files.enter_context(in_memory(spooled.read()))
    if os.path.isdir("/proc/self/fd"):  # a file without a name: no process that is killed leaves it behind
        spooled.rollover()
        spooled.flush()
        return f"/proc/self/fd/{spooled.fileno()}"
    stored = files.enter_context(tempfile.NamedTemporaryFile(prefix="jasper-upload-"))
    shutil.copyfileobj(spooled, stored, 1 << 20)
    stored.flush()
    return stored.name


def _is_in_memory(upload: UploadFile) -> bool:
    return (upload.size or 0) <= MultiPartParser.spool_max_size


async def _result(request: Request, recognition: Recognition, name: str) -> Transcript:
    """Waits for the transcript; a client that leaves meanwhile cancels it."""
    result = asyncio.wrap_future(recognition.future)
    left = asyncio.ensure_future(_disconnected(request))
    try:
        both: set[asyncio.Future[Any]] = {result, left}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ApiError(499, "The client left.", "client_closed_request")
        return result.result()
    except UserError as error:
        raise _api_error(error, name) from None
    finally:
        left.cancel()
        recognition.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(worker: InferenceWorker, form: TranscriptionForm, transcript: Transcript) -> Response:
    if form.response_format in ("json", "verbose_json"):
        return JSONResponse(_json_values(worker, form, transcript))
    media_type = "text/vtt" if form.response_format == "vtt" else "text/plain"
    return PlainTextResponse(text_body(transcript, form.response_format), media_type=media_type)


def _json_values(worker: InferenceWorker, form: TranscriptionForm, transcript: Transcript) -> dict[str, Any]:
    if form.response_format != "verbose_json":
        return json_values(transcript, form.logprobs)
    assert worker.transcriber is not None
    tokenizer, language = worker.transcriber.model.tokenizer, form.language or "unknown"
    return verbose_values(transcript, tokenizer, language, form.temperature, form.words, form.segments)


async def _events(
    worker: InferenceWorker, recognition: Recognition, form: TranscriptionForm, name: str, progress: asyncio.Event
) -> AsyncGenerator[str, None]:
    """Server-sent events: `transcript.text.delta` as words are settled, then `transcript.text.done`.

    Raises:
        ApiError: before the first event; a later error is an event.
    """
    assert worker.transcriber is not None
    rate = worker.transcriber.model.sample_rate
    result = asyncio.wrap_future(recognition.future)
    sent, is_begun = "", False
    try:
        while not result.done():
            news = asyncio.ensure_future(progress.wait())
            both: set[asyncio.Future[Any]] = {result, news}
            done, _ = await asyncio.wait(both, timeout=_KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
            news.cancel()
            if not done:
                is_begun = True
                yield ": waiting\n\n"
            elif not result.done():
                progress.clear()
                if form.response_format == "verbose_json":  # not OpenAI's
                    is_begun = True
                    yield _event({"type": "transcript.progress", "progress": recognition.progress})
                settled = await run_in_threadpool(recognition.settled_text, rate)
                if len(settled) > len(sent):
                    delta, sent, is_begun = settled[len(sent) :], settled, True
                    yield _event({"type": "transcript.text.delta", "delta": delta})
                await asyncio.wait({result}, timeout=_PAUSE_S)
        try:
            transcript = result.result()
        except UserError as error:
            if not is_begun:
                raise _api_error(error, name) from None
            yield _event(_api_error(error, name).body())
            return
        yield _event({"type": "transcript.text.delta", "delta": transcript.text[len(sent) :]})
        yield _event({"type": "transcript.text.done", **_json_values(worker, form, transcript)})
    finally:
        recognition.cancel()


async def _prepend(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    try:
        yield first
        async for one in rest:
            yield one
    finally:
        await rest.aclose()


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def _api_error(error: UserError, name: str) -> ApiError:
    """The answer to a recording that cannot be read, with the name that the client gave it."""
    if isinstance(error, ApiError):
        return error
    assert isinstance(error, AudioError)  # the worker gives no others
    detail = _OF_MANIFESTS.sub(" it", error.detail)
    return ApiError(_STATUS.get(error.kind, 400), f"{name}: {detail}", error.kind, "file")
