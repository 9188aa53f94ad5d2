"""Models of other frameworks: NeMo's archives, in and out."""
