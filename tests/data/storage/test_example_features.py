"""example_features against the protobuf library."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.data.storage.example_features import example_features

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES = st.one_of(st.lists(st.binary(max_size=300)), st.lists(INT64), st.lists(st.floats(width=32)))


def example_of(features) -> tf.train.Example:
    example = tf.train.Example()
    for name, values in features.items():
        feature = example.features.feature[name]
        kind = {bytes: feature.bytes_list, int: feature.int64_list}.get(type(values[0]) if values else int)
        (feature.float_list if kind is None else kind).value.extend(values)
    return example


def plain(features):
    return {name: [v if isinstance(v, int) else bytes(v) for v in values] for name, values in features.items()}


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=20), VALUES, max_size=6))
def test_what_the_library_writes(features):
    data = example_of(features).SerializeToString()
    expected = {k: [] if v and isinstance(v[0], float) else v for k, v in features.items()}
    assert plain(example_features(memoryview(data))) == expected


def test_numbers_that_are_not_packed_and_fields_that_nobody_knows():
    """As protobuf 2 wrote them, and as a later version may."""
    listed = b"\x08\x05\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # value 5, value -1
    feature = b"\x1a" + bytes([len(listed)]) + listed + b"\x7d1234"  # and a fixed32, number 15
    entry = b"\x0a\x01n\x12" + bytes([len(feature)]) + feature
    features = b"\x0a" + bytes([len(entry)]) + entry + b"\x71" + b"12345678"  # and a fixed64, number 14
    data = b"\x0a" + bytes([len(features)]) + features + b"\x78\x01"
    assert plain(example_features(memoryview(data))) == {"n": [5, -1]}
    assert list(tf.train.Example.FromString(data).features.feature["n"].int64_list.value) == [5, -1]


def test_values_are_parts_of_the_message():
    data = bytearray(example_of({"audio": [b"abc" * 100]}).SerializeToString())
    (audio,) = example_features(memoryview(data))["audio"]
    data[data.index(b"abc")] = ord("x")
    assert bytes(audio) == b"xbc" + b"abc" * 99


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**9))
def test_what_the_library_refuses_is_refused(seed):
    chance = np.random.default_rng(seed)
    data = bytearray(example_of({"audio": [chance.bytes(40)], "samples": [500]}).SerializeToString())
    for _ in range(chance.integers(3)):
        data[chance.integers(len(data))] = chance.integers(256)
    data = bytes(data[: chance.integers(len(data) + 1)])
    try:
        found = plain(example_features(memoryview(data)))
    except ValueError:
        return
    try:
        library = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        pytest.fail(f"{data!r}: the library refuses it, here it gives {found}")
    assert set(found) >= set(library) - {""}
