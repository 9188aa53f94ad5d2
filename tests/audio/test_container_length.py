"""Every kind of file that libsndfile writes, whole and cut: what is lost is an error, what is whole stays as it is."""

import numpy as np
import pytest
import soundfile

from jasper_tf.audio.load import load_audio
from jasper_tf.errors import AudioError

RATE = 16000
SOUND = np.random.default_rng(0).normal(0, 0.1, (3000, 2)).clip(-0.9, 0.9)

NOT_NOTICED = {
    "PAF": "states no length: only a cut inside a frame shows",
    "XI": "libsndfile writes it without a length",
    "IRCAM": "states no length: only a cut inside a frame shows",
    "PVF": "states no length: only a cut inside a frame shows",
}
LEFT_OUT = ("RAW", "SD2", "MP3", "OGG", "HTK", "SDS")
"""Without a header; two files; tested in test_faults.py (two); not recognized once it is cut; not read."""

KINDS = [
    (name, subtype)
    for name in soundfile.available_formats()
    if name not in LEFT_OUT
    for subtype in soundfile.available_subtypes(name)
    if not subtype.startswith(("DWVW", "MPEG"))  # libsndfile cannot go to a place in DWVW
]


def written(path, name, subtype):
    for channels in (2, 1):
        try:
            soundfile.write(path, SOUND[:, :channels], RATE if name != "WVE" else 8000, subtype, format=name)
            return path.read_bytes()
        except soundfile.LibsndfileError:
            continue
    pytest.skip("libsndfile does not write it")


def refused(path, content):
    """The kind of error that load_audio raises, or the number of samples that it gives."""
    path.write_bytes(content)
    try:
        return len(load_audio(path, soundfile.info(path).samplerate))
    except AudioError as error:
        assert str(error).startswith(f"{path}: ") and str(error).isprintable()
        return error.kind
    except soundfile.LibsndfileError:  # of soundfile.info
        with pytest.raises(AudioError) as raised:
            load_audio(path)
        return raised.value.kind


@pytest.mark.parametrize(("name", "subtype"), KINDS)
def test_a_cut_is_noticed_wherever_it_is(tmp_path, name, subtype):
    path = tmp_path / "sound"
    content = written(path, name, subtype)
    rate = soundfile.info(path).samplerate
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(axis=1)
    np.testing.assert_allclose(load_audio(path, rate), expected, rtol=0, atol=1e-7)
    size = len(content)
    # Behind the samples are chunks and padding; nothing of the sound is lost with them.
    end = size - (name == "VOC")  # the terminator: some files are refused without it
    cuts = {*range(20, end, max(1, size // 23)), *range(end - 20, end)}
    for kept in sorted(cuts):
        found = refused(path, content[:kept])
        if found == len(expected):
            np.testing.assert_array_equal(load_audio(path, rate), expected)
            continue
        if name in NOT_NOTICED:
            assert found in ("cut", "empty", "not_audio") or found < len(expected)
            continue
        # The samples begin after the header.
        assert found == "cut" or (found in ("not_audio", "empty") and kept < max(size - 2 * expected.size, size // 2))


@pytest.mark.parametrize(("name", "subtype"), [("IRCAM", "PCM_16"), ("PAF", "PCM_16"), ("PVF", "PCM_32")])
def test_without_a_length_a_cut_inside_a_frame_is_noticed(tmp_path, name, subtype):
    path = tmp_path / "sound"
    content = written(path, name, subtype)
    frame = 2 * (2 if subtype == "PCM_16" else 4)
    assert [refused(path, content[:-lost]) for lost in range(1, frame)] == ["cut"] * (frame - 1)
    assert refused(path, content[:-frame]) == len(SOUND) - 1


@pytest.mark.parametrize(
    ("name", "field", "unknown"),
    [
        ("AU", lambda content: 8, b"\xff" * 4),
        ("CAF", lambda content: content.index(b"data") + 4, b"\xff" * 8),
        ("AIFF", lambda content: content.index(b"SSND") + 4, b"\x7f\xff\xff\xff"),
        ("W64", lambda content: content.index(b"data") + 16, b"\xff" * 7 + b"\x7f"),
    ],
)
def test_a_length_that_a_stream_left_open_is_no_loss(tmp_path, name, field, unknown):
    path = tmp_path / "sound"
    content = bytearray(written(path, name, "PCM_16"))
    at = field(content)
    content[at : at + len(unknown)] = unknown
    found = refused(path, bytes(content))
    assert found == len(SOUND) or (name == "CAF" and found == "not_audio")


@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125), b"APETAGEX" + bytes(24)], ids=["", "ID3v1", "APE"])
@pytest.mark.parametrize("states_length", [True, False])
def test_an_mp3_with_and_without_a_frame_that_states_its_length(tmp_path, states_length, behind):
    path = tmp_path / "a.mp3"
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        file.write(0.3 * np.sin(np.arange(4 * RATE) / 7))
    content = path.read_bytes()
    frame_bytes = 0
    if not states_length:
        # One bit rate, as libsndfile expects of a file that does not state its length: frames of the commonest header.
        frames = content.split(content[:2])[1:]
        headers = [frame[:2] for frame in frames]
        common = max(headers, key=headers.count)
        content = b"".join(content[:2] + frame for frame in frames if frame[:2] == common)
        frame_bytes = content.index(content[:3], 1)
    whole = refused(path, content + behind)
    assert isinstance(whole, int) and whole > RATE
    for lost in range(1, 2 * len(content) // 3, 37):
        found = refused(path, content[:-lost])
        assert found == "cut" or (not states_length and lost % frame_bytes == 0)  # between two frames


def test_a_format_that_libsndfile_prints_of_is_not_read(tmp_path, capfd):
    content = bytearray(written(tmp_path / "f.sds", "SDS", "PCM_16"))
    content[400:404] = b"\xff\xff\xff\xff"  # libsndfile prints "Error A : FF" to stdout
    (tmp_path / "f.sds").write_bytes(content)
    with pytest.raises(AudioError) as caught:
        load_audio(tmp_path / "f.sds")
    assert caught.value.kind == "not_audio"
    assert capfd.readouterr() == ("", "")
