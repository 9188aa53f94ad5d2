"""The folder of an export appears complete or not at all, and nothing of the user's is ever removed."""

import dataclasses

import pytest

from jasper_tf.errors import UserError
from jasper_tf.export.edge.output_folder import replace_folder, validate_output_folder
from tests.export.edge.test_model_info import INFO


def write(folder, content: str) -> None:
    (folder / "model.tflite").write_text(content)
    info = dataclasses.replace(INFO, files=("model.json", "model.tflite"))
    (folder / "model.json").write_text(info.to_json(), encoding="utf-8")


def test_a_new_folder_appears_with_its_parents(tmp_path):
    output = tmp_path / "a" / "b" / "edge"
    with replace_folder(output, overwrite=False) as folder:
        write(folder, "one")
        assert not output.exists()
    assert (output / "model.tflite").read_text() == "one"
    assert [entry.name for entry in output.parent.iterdir()] == ["edge"]


def test_an_error_leaves_everything_as_it_was(tmp_path):
    with pytest.raises(ZeroDivisionError), replace_folder(tmp_path / "a" / "edge", overwrite=False):
        raise ZeroDivisionError
    assert not [*tmp_path.iterdir()]
    (tmp_path / "edge").mkdir()
    write(tmp_path / "edge", "one")
    with pytest.raises(ZeroDivisionError), replace_folder(tmp_path / "edge", overwrite=True):
        raise ZeroDivisionError
    assert (tmp_path / "edge" / "model.tflite").read_text() == "one"


@pytest.mark.parametrize("name", ["model.json", "model.tflite"])
def test_an_export_that_cannot_be_replaced_stays(tmp_path, monkeypatch, name):
    output = tmp_path / "edge"
    output.mkdir()
    write(output, "one")
    rename = type(output).rename

    def fails_on_the_new_one(self, target):
        if self.name == name and target.parent == output and not self.parent.name.endswith("-replaced"):
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(type(output), "rename", fails_on_the_new_one)
    with pytest.raises(UserError, match="the disk is gone"), replace_folder(output, overwrite=True) as folder:
        write(folder, "two")
    assert (output / "model.tflite").read_text() == "one"
    assert sorted(entry.name for entry in output.iterdir()) == ["model.json", "model.tflite"]


def test_a_folder_that_is_there_stays_itself(tmp_path, monkeypatch):
    # A shell that works in it would not see a new folder, and a mount point cannot be replaced.
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".writing-killed").mkdir()  # left behind by an export that was killed
    for content in ("one", "two"):
        with replace_folder(".", overwrite=content == "two") as folder:
            write(folder, content)
        with open("model.tflite") as file:
            assert file.read() == content


def test_an_earlier_export_is_replaced_only_when_asked_for(tmp_path):
    output, link = tmp_path / "edge", tmp_path / "link"
    output.mkdir()  # an empty folder may be there
    link.symlink_to(output)
    with replace_folder(link, overwrite=False) as folder:
        write(folder, "one")
        (folder / "old.txt").write_text("")
    (output / "old.txt").unlink()
    with pytest.raises(UserError, match="--overwrite"):
        validate_output_folder(output, overwrite=False)
    with replace_folder(output, overwrite=True) as folder:
        write(folder, "two")
    assert link.is_symlink() and (link / "model.tflite").read_text() == "two"


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_no_export_wrote_are_kept(tmp_path, overwrite):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.keras").write_text("trained for days")
    (tmp_path / "mixed").mkdir()
    write(tmp_path / "mixed", "one")
    (tmp_path / "mixed" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    for name in ("run", "mixed", "file"):
        with pytest.raises(UserError, match=name):
            validate_output_folder(tmp_path / name, overwrite)
