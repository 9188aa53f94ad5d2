"""Who may use the WebSocket: browsers can set no header there, and ask no permission before."""

from __future__ import annotations

import base64
import contextlib
import hmac
from urllib.parse import urlsplit

from fastapi import WebSocket

from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.request_gate import bearer_key
from jasper_tf.serving.http.server_settings import ServerSettings

SUBPROTOCOL = "jasper-tf"
_KEY = f"{SUBPROTOCOL}.key."


def validate_access(socket: WebSocket, settings: ServerSettings) -> None:
    """Refuses a client without the server's key, and a page of another site.

    The key is in the header `Authorization: Bearer KEY`; in an offered subprotocol `jasper-tf.key.` + KEY in base64url
    without padding, beside `jasper-tf`; or, where nothing else can be set, in the query as `api_key`, which proxies
    write into their logs.

    Raises:
        ApiError: 401, 403.
    """
    if settings.api_key and not hmac.compare_digest(_given_key(socket), settings.api_key.encode()):
        message = (
            f"the API key is missing or wrong; send it as Authorization: Bearer KEY, or as subprotocol {_KEY}BASE64URL"
        )
        raise ApiError(401, message, "invalid_api_key")
    origin = socket.headers.get("origin")
    own = (urlsplit(origin).netloc == socket.headers.get("host")) if origin else True
    if not own and not {origin, "*"} & set(settings.cors_origins):
        raise ApiError(403, f"pages of {origin} may not use this server (--cors-origin)", "origin_not_allowed")


def _given_key(socket: WebSocket) -> bytes:
    if key := bearer_key(socket.headers):
        return key
    for offered in socket.scope.get("subprotocols", []):
        if offered.startswith(_KEY):
            encoded = offered.removeprefix(_KEY)
            with contextlib.suppress(ValueError):
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return socket.query_params.get("api_key", "").encode()
