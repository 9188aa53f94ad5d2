import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

GOLDEN = Path(__file__).parents[1] / "golden"


class Golden:
    """features.npz with the shorthand of trim_golden.py undone."""

    def __init__(self):
        self.arrays = np.load(GOLDEN / "features.npz")
        self.configs = json.loads((GOLDEN / "features.json").read_text())["configs"]

    def __getitem__(self, key):
        if key == "wave/junk/x":
            return self["wave/clean/x"] + self["wave/junk/beyond"]
        value = self.arrays[key]
        return self[str(value)] if value.dtype.kind == "U" else value

    def __contains__(self, key):
        return key in self.arrays


@pytest.fixture(scope="session")
def golden():
    return Golden()


@pytest.fixture(scope="session")
def specaug_golden():
    return json.loads((GOLDEN / "specaug.json").read_text())


@pytest.fixture
def assert_layer_travels(tmp_path):
    """A layer of (values, lengths) gives the same numbers eagerly, in a graph, saved, exported and in bfloat16."""

    def flat(outputs):
        return [np.asarray(o) for o in (outputs if isinstance(outputs, tuple | list) else [outputs])]

    def check(layer, values, lengths):
        lengths = lengths.astype(np.int32)
        expected = flat(layer(values, lengths))

        def assert_same(outputs):
            outputs = flat(outputs)
            assert [o.dtype for o in outputs] == [e.dtype for e in expected]
            for output, value in zip(outputs, expected, strict=True):
                np.testing.assert_allclose(output, value, atol=1e-5)

        assert_same(layer(values, lengths.astype(np.int64)))
        shape = [None, None, *values.shape[2:]]
        signature = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec([None], tf.int32)]
        graph = tf.function(lambda v, n: layer(v, n), input_signature=signature)
        assert_same(graph(values, lengths))

        config = {k: v for k, v in layer.get_config().items() if k != "dtype"}
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            assert_same(type(layer).from_config(config)(values, lengths))
        finally:
            keras.config.set_dtype_policy("float32")

        inputs = [keras.Input(shape[1:], dtype="float32"), keras.Input((), dtype="int32")]
        symbolic = layer(*inputs)
        model = keras.Model(inputs, symbolic)
        for spec, value in zip(symbolic if isinstance(symbolic, tuple) else [symbolic], expected, strict=True):
            assert spec.dtype == value.dtype.name
            assert len(spec.shape) == value.ndim
            assert all(s in (None, v) for s, v in zip(spec.shape, value.shape, strict=True))
        static = layer(keras.Input(batch_shape=values.shape), keras.Input(batch_shape=lengths.shape, dtype="int32"))
        statics = static if isinstance(static, tuple) else [static]
        assert [s.shape for s in statics] == [v.shape for v in expected]

        model.save(tmp_path / "model.keras")
        assert_same(keras.models.load_model(tmp_path / "model.keras")([values, lengths]))
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serve", lambda v, n: model([v, n], training=False), input_signature=signature)
        archive.write_out(str(tmp_path / "saved"), verbose=False)
        assert_same(tf.saved_model.load(str(tmp_path / "saved")).serve(values, lengths))

    return check
