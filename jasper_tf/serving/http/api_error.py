"""Errors as OpenAI's interface gives them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from jasper_tf.errors import UserError


class ApiError(UserError):
    """A request that is refused or failed; the answer is `{"error": {message, type, param, code}}`.

    Args:
        status: of HTTP.
        message: what is wrong and what to do, one sentence.
        code: what is wrong, for programs.
        param: the field that is wrong.
        headers: of the answer, in addition.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers

    def body(self) -> dict[str, Any]:
        """The answer as values for JSON."""
        types = {401: "authentication_error", 429: "rate_limit_error"}
        kind = types.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status, self.headers)


def internal_error(request_id: str) -> ApiError:
    """The answer to a request that a fault of the server ended; its log has the traceback."""
    return ApiError(500, f"The server failed; its log says why, beside the id {request_id}.", "internal_error")


def add_error_handlers(app: FastAPI) -> None:
    """Lets the application answer its own errors, and those of the framework (404, 405, 422), in this shape."""

    async def own(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return error.response()

    async def of_framework(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "unknown_url", 405: "method_not_allowed"}
        detail = str(error.detail)
        if error.status_code in codes:
            detail = f"{detail}: {request.method} {request.url.path}; this server has POST /v1/audio/transcriptions"
        found = ApiError(error.status_code, detail, codes.get(error.status_code))
        return JSONResponse(found.body(), error.status_code, error.headers)

    async def of_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        param = ".".join(map(str, first["loc"][1:]))
        return ApiError(422, f"{param}: {first['msg']}", "invalid_value", param).response()

    app.add_exception_handler(ApiError, own)
    app.add_exception_handler(HTTPException, of_framework)
    app.add_exception_handler(RequestValidationError, of_validation)
