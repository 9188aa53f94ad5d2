"""A run's hyper-parameters, configuration and model on the TensorBoard page."""

import pytest
import tensorflow as tf
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from jasper_tf.inference.load_model import load_model
from jasper_tf.training.run.description import hyper_parameters


@pytest.fixture(scope="module")
def page(tiny_run) -> EventAccumulator:
    return EventAccumulator(str(tiny_run[1] / "tensorboard"), size_guidance={"tensors": 0}).Reload()


def plugin_data(page: EventAccumulator, tag: str) -> bytes:
    return page.SummaryMetadata(tag).plugin_data.content


def test_hyper_parameters_and_final_metrics(page, tiny_run):
    start = metadata.parse_session_start_info_plugin_data(plugin_data(page, metadata.SESSION_START_INFO_TAG))
    values = {key: getattr(value, value.WhichOneof("kind")) for key, value in start.hparams.items()}
    parameters = sum(v.shape.num_elements() for v in load_model(tiny_run[1]).trainable_weights)
    assert values["optim.lr"] == 0.02 and values["optim.betas"] == "[0.8, 0.5]"
    assert values["optim.sched.warmup_steps"] == 2 and values["train_ds.batch_size"] == 4
    assert values["trainer.max_epochs"] == 3 and values["seed"] == 0 and values["parameters"] == parameters
    assert start.group_name == "tiny"
    experiment = metadata.parse_experiment_plugin_data(plugin_data(page, metadata.EXPERIMENT_TAG))
    assert {info.name for info in experiment.hparam_infos} == set(values)
    shown = {info.name for info in experiment.hparam_infos if info.differs}
    assert shown == {"optim.lr", "optim.weight_decay", "seed", "train_ds.batch_size", "trainer.max_epochs"}
    tags = [info.name.tag for info in experiment.metric_infos]
    assert tags == [f"validation/{kind}{name}" for kind in ("best_", "") for name in ("wer", "cer", "loss")]
    assert set(tags) <= set(page.PluginTagToContent("scalars"))
    end = metadata.parse_session_end_info_plugin_data(plugin_data(page, metadata.SESSION_END_INFO_TAG))
    assert end.status == 1  # success


def test_only_what_is_compared(tiny_config):
    cfg = tiny_config("model.train_ds.augmentor={white_noise: {prob: 0.3}}", "trainer.gradient_clip_val=1.5")
    found = hyper_parameters(cfg)
    assert found["train_ds.augmentor.white_noise.prob"] == 0.3 and found["trainer.gradient_clip_val"] == 1.5
    assert not {"name", "trainer.log_every_n_steps", "train_ds.manifest_filepath"} & set(found)
    assert "trainer.gradient_clip_val" not in hyper_parameters(tiny_config())


def test_texts(page, tiny_run):
    cfg, folder, _ = tiny_run
    [configuration] = [tf.make_ndarray(e.tensor_proto).item().decode() for e in page.Tensors("run/configuration")]
    assert yaml.safe_load(configuration.strip("`")) == yaml.safe_load((folder / "config.yaml").read_text())
    [model] = [tf.make_ndarray(e.tensor_proto).item().decode() for e in page.Tensors("run/model")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in model.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == ["block 0", "block 1", "block 2", "head"]
    assert rows[1] == ["block 1", "2 x convolution", "16", "7", "1", "1", "0.1", "yes", "yes", rows[1][-1]]
    assert f"{sum(int(row[-1].replace(',', '')) for row in rows):,} trainable parameters" in model
    assert "one output frame every 20 ms" in model and " kFLOP for a second of audio" in model
