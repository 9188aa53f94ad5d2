"""Harmful YAML, and what is not a file, end in one line of error."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import load_config
from jasper_tf.errors import UserError
from jasper_tf.io import bounded_file
from jasper_tf.io.bounded_yaml import DEEPEST, MOST_BYTES, MOST_VALUES, parse_yaml

ROOT = Path(__file__).parent.parent.parent
LETTERS = "abcdefghijklmnopqrstuvwxyz"
STEPS = list(zip(LETTERS, LETTERS[1:], strict=False))
ALIASES = "a: &a [x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in STEPS)
MERGES = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in STEPS)
CHAIN = "a0: &a0 x\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(3000))
DOUBLING = "name: x\nk0: xx\n" + "".join(f"k{i + 1}: '${{k{i}}}${{k{i}}}'\n" for i in range(39))
EMPTY_DOUBLING = DOUBLING.replace("xx", "''")
LISTS = "name: x\nk0: [1, 2]\n" + "".join(f"k{i + 1}: ['${{k{i}}}', '${{k{i}}}']\n" for i in range(39))
REFERENCES = "name: x\nk0: 1\n" + "".join(f"k{i + 1}: '${{k{i}}}'\n" for i in range(3000))
TEXTS = {
    "aliases": (ALIASES, f"expands to more than {MOST_VALUES:,} values"),
    "merge keys": (MERGES, f"expands to more than {MOST_VALUES:,} values"),
    "alias chain": (CHAIN, f"nested more than {DEEPEST} levels"),
    "alias circle": ("a: &a {b: [*a]}", "an alias that contains itself"),
    "merge circle": ("a: &a {<<: *a}", "an alias that contains itself"),
    "doubling": (DOUBLING, "expands to more than 10,000 characters"),
    "doubling nothing": (EMPTY_DOUBLING, "${...} expands to more than"),
    "doubling lists": (LISTS, "${...} expands to more than"),
    "long text": ("name: '${k}${k}'\nk: " + "x" * 9000, "expands to more than 10,000 characters"),
    "references": (REFERENCES, "${...} expands to more than"),
    "long reference": ("name: ${" + "x." * 50_000 + "}", "names no key"),
    "long index": ("name: ${k." + "9" * 5000 + "}\nk: [1]", "names no key"),
    "brackets": ("[" * 50_000, "nested more than"),
    "braces": ("{a: " * 3000, "nested more than"),
    "dashes": ("- " * 5000, "nested more than"),
    "long line": ("name: [" + "1," * 150_000 + "]", "expands to more than"),
    "bool": ("a: !!bool abc", "'abc' is not of type bool"),
    "int": ('a: !!int ""', "'' is not of type int"),
    "float": ("a: !!float x", "'x' is not of type float"),
    "timestamp": ('a: !!timestamp ""', "timestamp is not supported"),
    "set": ("a: !!set {b}", "set is not supported"),
    "binary": ("a: !!binary aGk=", "binary is not supported"),
    "python": ("a: !!python/object/apply:os.system [exit]", "is not supported"),
    "digits": ("a: " + "9" * 5000, "a number of 5,000 characters"),
    "hexadecimal": ("a: 0x" + "f" * 100_000, "a number of 100,002 characters"),
    "sexagesimal": ("a: 1" + ":11" * 100_000, "a number of 300,001 characters"),
    "version": ("%YAML 1." + "9" * 5000 + "\n--- a", "not valid YAML"),
    "code point": ('a: "\\Uffffffff"', "not valid YAML"),
    "surrogate": ('a: "\\ud800"', "half of a character"),
    "long key": ("? " + "x" * 500_000 + "\n: 1", "unknown key"),
    "long label": ("name: x\nmodel: {labels: [" + "x" * 500_000 + "]}", "single character|missing"),
    "control characters": ('"a\\x1b[31m\\n\\u2028b": 1', "unknown key"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts(tmp_path, name):
    text, expected = TEXTS[name]
    path = tmp_path / "c.yaml"
    path.write_text(text)
    message = refused(path)
    assert message.startswith(str(path)) and any(word in message for word in expected.split("|")), message


def refused(path, *overrides):
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 1000, message
    return message


@pytest.mark.parametrize("name", ["aliases", "merge keys", "doubling", "doubling lists", "brackets"])
def test_the_same_in_little_memory(tmp_path, name):
    path = tmp_path / "c.yaml"
    path.write_text(TEXTS[name][0])
    done = in_process(path)
    assert done.stdout.startswith(f"refused: {path}"), done.stderr[-500:]


def in_process(path, **options):
    script = "import sys; from jasper_tf.config import load_config\n"
    script += "try: load_config(sys.argv[1])\nexcept ValueError as error: print('refused:', error)"
    options = {"capture_output": True, "text": True, "timeout": 60, "cwd": ROOT} | options
    # By the shell: preexec_fn runs Python between fork and exec, beside the threads that gRPC has here.
    command = ["sh", "-c", 'ulimit -v 976562; exec "$@"', "sh", sys.executable, "-c", script, str(path)]
    return subprocess.run(command, **options)


def test_sizes():
    with pytest.raises(UserError, match="larger than"):
        parse_yaml("x" * (MOST_BYTES + 1), "c.yaml")
    labels = [chr(0x4E00 + i) for i in range(6000)]  # as many as a Chinese model has
    text = yaml.safe_dump({"a": labels, "b": labels, "c": list(labels)}, allow_unicode=True)
    assert parse_yaml(text, "c.yaml") == {"a": labels, "b": labels, "c": labels}


def test_plain_values():
    text = "a: 2024-01-01\nb: [1, -2.5, 0x1F, yes, ~, 1e3, '=', =]\nc: &c {x: 1}\nd: {<<: *c, y: !!str 2}\ne: !!int '3'"
    assert parse_yaml(text, "c.yaml") == {
        "a": "2024-01-01",
        "b": [1, -2.5, 31, True, None, "1e3", "=", "="],
        "c": {"x": 1},
        "d": {"x": 1, "y": "2"},
        "e": 3,
    }


@pytest.mark.parametrize("make", ["fifo", "folder", "zero", "sparse", "socket", "nul", "surrogate", "long", "newline"])
def test_what_is_no_file(tmp_path, monkeypatch, make):
    monkeypatch.setattr(bounded_file, "_PATIENCE_S", 1.0)
    path = tmp_path / "c.yaml"
    with contextlib.ExitStack() as stack:
        if make == "fifo":
            os.mkfifo(path)
        elif make == "folder":
            path.mkdir()
        elif make == "zero":
            path = Path("/dev/zero")
        elif make == "sparse":
            with open(path, "wb") as file:
                file.truncate(10**11)
        elif make == "socket":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(os.path.relpath(path))
        else:
            path = tmp_path / {"nul": "a\0b", "surrogate": "\udcff", "long": "x" * 5000, "newline": "a\nb"}[make]
        message = refused(path)
    assert message.startswith((str(tmp_path), "/dev/zero")), message


def test_a_pipe_is_read_to_its_end():
    text = (ROOT / "configs" / "an4.yaml").read_text()
    done = in_process("/dev/stdin", input=text)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    done = in_process("/dev/stdin", input=text + "#" * (MOST_BYTES + 1))
    assert done.stdout.startswith("refused: /dev/stdin: larger than"), done.stderr


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "[" * 5000,
        "model.labels.0." + "a." * 5000 + "b=1",
        "hydra." + "a." * 5000 + "b=1",
        "model.labels." + "9" * 5000 + "=a",
        "model.labels=&a [*a]",
        "model.train_ds.augmentor={\u2028: 1}",
        "x" * 100_000 + "=1",
        "x" * 100_000,
        "\x1b[31m=1",
    ],
)
def test_overrides(override):
    refused(ROOT / "configs" / "an4.yaml", override)
