"""What README.md and docs/ say of the code."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest

import jasper_tf
from docs import generate_configuration

REPOSITORY = Path(__file__).parent.parent
DOCS = REPOSITORY / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_bounds_are_those_of_the_code():
    stated = re.findall(r"`([a-z_.]+)\.(_?[A-Z_]+)` = ([\d,]*\d)", page("security.md"))
    assert len(stated) > 20
    for module, name, value in stated:
        found = getattr(importlib.import_module(f"jasper_tf.{module}"), name)
        assert found == int(value.replace(",", "")), f"{module}.{name}"


def test_the_configuration_reference_is_that_of_the_schema():
    assert page("configuration.md") == generate_configuration.render(), "stale: run make docs, and commit the page"


@pytest.mark.medium
def test_every_public_name_is_in_the_api_reference():
    described = re.findall(r"(?m)^::: ([\w.]+)$", page("api.md"))
    for name in jasper_tf.__all__:
        value = getattr(jasper_tf, name)
        assert f"{value.__module__}.{value.__qualname__}" in described, name


def test_the_architecture_names_every_folder_in_the_order_of_imports():
    contract = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    floors = [re.findall(r"\w+", floor) for floor in contract["layers"]]
    floors = [floor for floor in floors if list((REPOSITORY / "jasper_tf").glob(f"{floor[0]}*"))]
    table = page("architecture.md").partition("| `jasper_tf/` |")[2].partition("\n\n")[0]
    rows = re.findall(r"(?m)^\| (`[^|]*`) \|", table)
    named = [re.findall(r"`(\w+)", row) for row in rows]
    assert [sorted(row) for row in named] == [sorted(floor) for floor in floors]


def test_every_page_is_in_the_navigation_and_in_the_readme():
    navigation = (REPOSITORY / "mkdocs.yml").read_text()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for file in DOCS.glob("*.md"):
        assert f": {file.name}\n" in navigation, file
        assert f"(docs/{file.name})" in readme, file


def test_links_of_the_readme_lead_somewhere():
    for target in re.findall(r"\]\((?!https:)([^)#]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8")):
        assert (REPOSITORY / target).exists(), target


def test_the_readme_is_short():
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
