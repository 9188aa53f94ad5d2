"""Routes of OpenAI's list of models, which has one."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request

from jasper_tf.errors import shorten
from jasper_tf.serving.http.api_error import ApiError

router = APIRouter()

_STARTED = int(time.time())


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The model of the server."""
    return {"object": "list", "data": [_model(request)]}


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """The model, by its name."""
    found = _model(request)
    if name != found["id"]:
        message = f"No model {shorten(name, 80)!r}; this server has {found['id']!r}."
        raise ApiError(404, message, "model_not_found", "model")
    return found


def _model(request: Request) -> dict[str, Any]:
    name = request.app.state.settings.model_name
    return {"id": name, "object": "model", "created": _STARTED, "owned_by": "jasper-tf"}
