"""One file per verb of `python -m jasper_tf`."""
