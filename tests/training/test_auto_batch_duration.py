"""The largest batch that the memory holds."""

import dataclasses

import pytest
import yaml

from jasper_tf.training.auto_batch_duration import (
    extrapolate_rows,
    largest_duration,
    most_rows_that_fit,
    with_batch_duration,
)
from jasper_tf.training.run.place import run_path


@pytest.mark.parametrize(("rows", "seconds", "expected"), [(1.0, 16.7, 16.7), (12.9, 16.0, 200.0), (7.3, 2.0, 14.0)])
def test_a_duration_has_two_digits_and_holds_the_longest(rows, seconds, expected):
    assert largest_duration(rows, seconds) == expected


@pytest.mark.parametrize("most", [0, 1, 5, 16, 100])
def test_rows_that_fit_are_found_without_trying_all(most):
    tried = []

    def fits(rows):
        tried.append(rows)
        return rows <= most

    found = most_rows_that_fit(fits)
    assert found <= most and found >= most - max(1, most // 16)
    assert len(tried) <= 12 and max(tried) <= max(1, 2 * most)


def test_memory_that_grows_evenly_is_extrapolated():
    tried = []

    def peak_memory(rows):
        tried.append(rows)
        return 900 + 100 * rows + 20 * (rows == 4)

    rows, row = extrapolate_rows(peak_memory, 2500)
    assert tried == [1, 2, 4] and row == 110 and rows == 1 + 1500 / 110
    tried.clear()
    assert extrapolate_rows(peak_memory, 1150)[0] == pytest.approx(1.15, rel=0.2) and tried == [1]
    assert extrapolate_rows(peak_memory, 800)[0] < 1


def automatic(cfg):
    return dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, auto_batch_duration=True))


@pytest.mark.medium
def test_a_run_that_resumes_keeps_what_it_found(tiny_config, tmp_path):
    cfg = automatic(tiny_config(f"exp_manager.exp_dir={tmp_path}", "exp_manager.resume_if_exists=true"))
    kept = dataclasses.replace(cfg.model.train_ds, batch_duration=7.0)
    earlier = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, train_ds=kept))
    folder = run_path(cfg)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(earlier.to_dict()), encoding="utf-8")
    # That start ended before its first step, perhaps for lack of memory.
    found, line = with_batch_duration(cfg, folder)
    duration = found.model.train_ds.batch_duration
    assert duration >= 1 and duration != 7.0 and f"{duration:g} s" in line
    assert cfg.model.train_ds.batch_duration is None
    (folder / "metrics.csv").touch()
    assert with_batch_duration(cfg, folder)[0].model.train_ds.batch_duration == 7.0
    # A value that is given is used.
    given = dataclasses.replace(cfg.model.train_ds, batch_duration=9.0)
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, train_ds=given))
    assert with_batch_duration(cfg, run_path(cfg))[0].model.train_ds.batch_duration == 9.0
