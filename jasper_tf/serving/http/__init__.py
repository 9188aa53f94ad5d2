"""Live server: the HTTP interface of OpenAI's transcriptions, a WebSocket for live audio, and a page."""
