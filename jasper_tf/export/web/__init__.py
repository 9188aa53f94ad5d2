"""A static web page that transcribes in the browser."""
