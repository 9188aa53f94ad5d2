"""How many threads the served model gets."""

import sys
from types import SimpleNamespace

import pytest

from jasper_tf.serving.http.model_threads import choose_parallel_batches, limit_threads


@pytest.fixture
def threads(monkeypatch, tmp_path):
    """`threads(megabytes, given)`: within and between operations, as TensorFlow is told; None: nothing is."""
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)

    def threads(megabytes, given=None, name="model.keras"):
        told = {}
        threading = SimpleNamespace(
            set_intra_op_parallelism_threads=lambda number: told.update(intra=number),
            set_inter_op_parallelism_threads=lambda number: told.update(inter=number),
        )
        monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=SimpleNamespace(threading=threading)))
        folder = tmp_path / name.replace("/", "_")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(megabytes * 1_000_000))
        limit_threads(folder, given)
        return (told["intra"], told["inter"]) if told else None

    return threads


def test_a_small_model_leaves_a_core_to_the_requests(threads, monkeypatch):
    assert threads(5) == (7, 7)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert threads(5) == (1, 1)


def test_a_larger_one_gets_all(threads):
    assert threads(20) is None and threads(20, name="1/saved_model.pb") is None
    assert threads(5, name="1/saved_model.pb") == (7, 7)


def test_what_the_user_says(threads, monkeypatch):
    assert threads(5, 3) == threads(20, 3) == (3, 3)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    assert threads(5) is None


def test_a_small_model_has_two_batches_at_a_time(tmp_path):
    for name, megabytes, want in (("small", 1, 2), ("large", 11, 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.keras").write_bytes(bytes(megabytes * 1_000_000))
        assert choose_parallel_batches(tmp_path / name) == want
    edge = tmp_path / "model.tflite"
    edge.write_bytes(bytes(1000))
    assert choose_parallel_batches(edge) == 1
