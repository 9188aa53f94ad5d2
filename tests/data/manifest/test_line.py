"""Lines of manifests with hypothesis: valid ones survive, a key twice is never taken. Broken ones: tests/fuzz."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.manifest.line import Utterance, parse_line
from jasper_tf.errors import UserError

KEYS = ("audio_filepath", "offset", "duration", "text", "text_filepath", "record")
VALID = (
    b'{"audio_filepath": "a.wav", "offset": 0.25, "duration": 0.5, "text": "na\\u00efve \xc3\xa9", "speaker": ["x", 1]}'
)
settings.register_profile(
    "manifest", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    soundfile.write(folder / "a.wav", np.zeros(16000, np.int16), 16000)
    (folder / "a.txt").write_text("yes")
    return folder


def check(line: bytes, folder: Path) -> Utterance | None:
    """What a user may see of it, and nothing else."""
    try:
        found = parse_line(line, str(folder), "m.json:1")
    except UserError as error:
        message = str(error)
        assert message and len(message.splitlines()) == 1, repr(message)
        message.encode()  # a terminal must be able to print it
        return None
    assert found is None or isinstance(found, Utterance)
    if found is not None:
        assert found.duration_s > 0 and found.offset_s >= 0 and Path(found.path).is_file()
        found.text.encode()
    return found


# orjson reads whole numbers beyond 64 bits as floats.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(settings.get_profile("manifest"), max_examples=200)
@given(
    key=st.sampled_from(KEYS[:4]),
    space=st.sampled_from(["", " ", "\t", "\r", " \t"]),
    other_space=st.sampled_from(["", " ", "\t", "\r"]),
    escape=st.booleans(),
    decoy=st.sampled_from(["", '\\":', '": ', "\t"]),
)
def test_a_key_that_is_there_twice_is_never_taken(key, space, other_space, escape, decoy, folder):
    values = {"audio_filepath": '"a.wav"', "offset": "0.5", "duration": "0.5", "text": f'"{decoy}"'}
    values["text"] = values["text"].replace("\t", "\\t").replace('": ', '\\": ')
    once = ", ".join(f'"{name}"{space}:{value}' for name, value in values.items())
    name = f"\\u{ord(key[0]):04x}{key[1:]}" if escape else key
    assert check(f"{{{once}}}".encode(), folder)
    with pytest.raises(UserError, match=f"^the key '{key}' is there twice; keep one$"):
        parse_line(f'{{"{name}"{other_space}:{values[key]}, {once}}}'.encode(), str(folder), "m.json:1")


@settings(settings.get_profile("manifest"), max_examples=200)
@given(
    text=st.text(st.characters(codec="utf-8"), max_size=20),
    duration=st.floats(1e-3, 1e6),
    offset=st.floats(0, 1e6) | st.integers(0, 100),
    extra=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5).filter(lambda k: k not in KEYS), json_values
    ),
    before=st.sampled_from([b"", b"\xef\xbb\xbf", b" \t"]),
    after=st.sampled_from([b"", b"\n", b"\r\n", b" \n"]),
    escaped=st.booleans(),
)
def test_valid_lines_survive(text, duration, offset, extra, before, after, escaped, folder):
    entry = {"audio_filepath": "a.wav", "duration": duration, "offset": offset, "text": text, **extra}
    line = json.dumps(entry, ensure_ascii=escaped).encode()
    found = check(before + line + after, folder)
    assert found is not None
    assert (found.path, found.text) == (str(folder / "a.wav"), text)
    assert (found.duration_s, found.offset_s) == (duration, offset)
    assert repr(found.extra) == repr(extra)


@settings(settings.get_profile("manifest"), max_examples=100)
@given(lines=st.lists(st.sampled_from([VALID, b"", b"\r"]) | st.binary(max_size=30), max_size=6))
def test_whole_files(lines, folder):
    content = b"\n".join(lines)
    (folder / "m.json").write_bytes(content)
    each = content.split(b"\n")
    kept = [found for line in each if (found := check(line, folder))]
    try:
        manifest = read_manifest(str(folder / "m.json"))
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and str(error).startswith(str(folder / "m.json"))
    else:
        assert [u.text for u in manifest] == [u.text for u in kept] and kept
