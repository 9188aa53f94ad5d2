"""The packaged configurations, by name."""

import logging

import pytest

from jasper_tf.config.packaged import find_config, packaged_configs, summary
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_every_configuration_has_a_line_of_its_own():
    lines = [summary(file) for file in packaged_configs().values()]
    assert all(len(line) > 20 and line.endswith(".") for line in lines)
    assert len(set(lines)) == len(lines) > 5


@pytest.mark.parametrize("name", ["quartznet.yaml", "configs/quartznet.yaml"])
def test_a_packaged_name_is_found_and_said(name, caplog):
    with caplog.at_level(logging.INFO, logger="jasper_tf"):
        file = find_config(name)
    assert file == packaged_configs()["quartznet.yaml"]
    assert ConfigSource.from_file(name).tree["name"] == "QuartzNet15x5"
    assert not any("no such" in record.getMessage() for record in caplog.records)
    assert [str(file) in record.getMessage() for record in caplog.records] in ([True], [])  # [] where said before


@pytest.mark.parametrize("name", ["quartznet.yaml", "configs/quartznet.yaml"])
def test_a_file_of_that_name_comes_first(name, tmp_path):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("name: mine\n")
    assert ConfigSource.from_file(name).tree == {"name": "mine"}


def test_no_such_name_lists_the_packaged():
    with pytest.raises(UserError, match=r"quartz.yaml: .*quartznet\.yaml"):
        find_config("quartz.yaml")


def test_a_folder_is_not_a_configuration(tmp_path):
    run = tmp_path / "runs" / "my"
    run.mkdir(parents=True)
    with pytest.raises(UserError, match=r"^runs/my: a folder.*; give"):
        find_config("runs/my")
    (run / "config.yaml").write_text("name: mine\n")
    with pytest.raises(UserError, match=r"^runs/my: a folder.* runs/my/config\.yaml$"):
        find_config("runs/my")


@pytest.mark.parametrize("name", ["other/quartznet.yaml", "../quartznet.yaml", "/quartznet.yaml"])
def test_another_folder_is_not_the_package(name):
    with pytest.raises(UserError, match="No such file"):
        ConfigSource.from_file(name)
