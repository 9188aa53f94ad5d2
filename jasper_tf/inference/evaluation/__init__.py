"""Error rates of a model on a manifest, and their report."""
