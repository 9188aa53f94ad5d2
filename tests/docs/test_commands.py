"""Every command in README.md and docs/ is one that the verbs accept, with keys that the schema has."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from collections.abc import Sequence
from types import ModuleType

import pytest
import yaml

from jasper_tf.__main__ import find_verbs
from jasper_tf.commands._decoding import is_override
from jasper_tf.config import load_config
from jasper_tf.config.decoding_overrides import override_decoding
from jasper_tf.config.loading import config_from_dict
from jasper_tf.config.pretrained import PRETRAINED_SECTIONS
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.config.sections.tune_schema import load_tune_config
from tests.docs.pages import PAGES, REPOSITORY, blocks, inline_code

BASE = REPOSITORY / "configs/an4.yaml"
_OURS = re.compile(r"\b(?:jasper-tf|python -m jasper_tf|python (train|export)\.py)(?= )")


def verb_and_arguments(line: str) -> list[str] | None:
    """`[verb, argument, ...]` of a shell line that runs one of our commands, else None."""
    found = _OURS.search(line)
    if found is None or line.lstrip().startswith("#"):
        return None
    rest = shlex.split(line[found.end() :].partition(" > ")[0], comments=True)
    return [found[1], *rest] if found[1] else rest


def shell_lines(text: str) -> list[str]:
    return re.sub(r"\\\n\s*", " ", text).splitlines()


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Its options, and those of its actions (`lm build`)."""
    inner = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return set(parser._option_string_actions).union(*(options_of(p) for group in inner for p in group.values()))


def module_of(verb: str) -> ModuleType:
    return importlib.import_module(f"jasper_tf.commands.{find_verbs()[verb].stem}")


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=verb, exit_on_error=False)
    module_of(verb).add_arguments(parser)
    return parser


def sections_of_base(key: str, path: str) -> dict:
    """In place of a pretrained model that is not there."""
    model = yaml.safe_load(BASE.read_text())["model"]
    return {name: model[name] for name in PRETRAINED_SECTIONS}


def check_keys(config: str, overrides: Sequence[str]) -> None:
    """Raises UserError where the configuration does not take an override; a reader's own file is like `BASE`."""
    packaged = REPOSITORY / "configs" / config.removeprefix("configs/")
    load_config(packaged if packaged.is_file() else BASE, overrides, cross_check=False, pretrained=sections_of_base)


COMMANDS = [
    pytest.param(command, id=f"{block.place} {command[0]}")
    for page in PAGES
    for block in blocks(page)
    if block.language == ""
    for line in shell_lines(block.text)
    if (command := verb_and_arguments(line))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_accepted(command):
    verb, *words = command
    parser = parser_of(verb)
    parse = parser.parse_intermixed_args if getattr(module_of(verb), "INTERMIXED", False) else parser.parse_args
    arguments = parse(words)
    override_decoding(DecodingConfig(strategy="beam"), [word for word in words if is_override(word)])
    if verb == "check":
        check_keys(arguments.config or "an4.yaml", arguments.overrides)
    if verb == "train":
        check_keys(arguments.config, arguments.overrides)
    if verb == "config" and arguments.action != "list":
        check_keys(arguments.file, arguments.overrides)
    if verb == "tune":
        own = [key for key in arguments.overrides if key.startswith("tune.")]
        load_tune_config(REPOSITORY / "configs/tune.yaml", own)
        check_keys("an4.yaml", [key for key in arguments.overrides if key not in own])


def test_the_commands_were_found():
    assert len(COMMANDS) > 50
    verbs = {"train", "export", "evaluate", "transcribe", "tune", "lm", "tune-decoding", "align", "client"}
    assert {command.values[0][0] for command in COMMANDS} > verbs


def test_commands_in_the_text_name_verbs_and_options_that_exist():
    """Those between backticks may leave things out."""
    verbs, checked = find_verbs(), 0
    for page in PAGES:
        for code in inline_code(page):
            if (command := verb_and_arguments(code)) and command[0] not in ("VERB", "-h", "--help", "--version"):
                assert command[0] in verbs, f"{page.name}: {code}"
                options = {option.partition("=")[0] for option in command if option.startswith("--")}
                assert options <= options_of(parser_of(command[0])), f"{page.name}: {code}"
                checked += 1
    assert checked > 10


ASSIGNMENT = re.compile(r"(?:model|trainer|exp_manager|decoding)\.[a-z_.0-9*]+=\S.*")


def test_keys_in_the_text_exist():
    found = [code for page in PAGES for code in inline_code(page) if ASSIGNMENT.fullmatch(code)]
    assert len(found) > 8
    for code in found:
        of_model = f"model.{code}" if code.startswith("decoding.") else code
        check_keys("an4.yaml", shlex.split(of_model) if "{" not in code else [of_model])


YAML = [
    pytest.param(yaml.safe_load(block.text), id=block.place)
    for page in PAGES
    for block in blocks(page)
    if block.language == "yaml"
]


@pytest.mark.parametrize("values", YAML)
def test_a_yaml_example_has_keys_that_exist(values, tmp_path):
    if "apiVersion" in values:  # Kubernetes's
        return
    if "tuner" in values:
        (tmp_path / "tune.yaml").write_text(yaml.safe_dump(values))
        load_tune_config(tmp_path / "tune.yaml")
        return
    config = yaml.safe_load(BASE.read_text())
    for section, inner in values["model"].items():
        config["model"][section] = {**config["model"].get(section, {}), **inner}
    if "tokenizer" in config["model"]:
        del config["model"]["labels"]
    if "input_cfg" in config["model"]["train_ds"]:
        del config["model"]["train_ds"]["manifest_filepath"]
    config_from_dict(config)
