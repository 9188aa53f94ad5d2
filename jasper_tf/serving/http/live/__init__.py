"""Live streams: the WebSocket `/v1/stream`."""
