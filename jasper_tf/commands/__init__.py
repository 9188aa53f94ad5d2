"""One file per verb of `python -m jasper_tf`.

A verb imports what takes seconds (TensorFlow) in its functions: `--help` and wrong arguments answer at once.
"""
