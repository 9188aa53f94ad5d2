"""OpenAI's audio interface: forms, formats and routes."""
