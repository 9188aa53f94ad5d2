"""The parts of `check --audio`."""

import json

from jasper_tf.data.checks import audio
from jasper_tf.data.checks.audio import AudioParts
from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog
from jasper_tf.data.checks.lines import check_lines


def test_parts_hold_every_line_once_and_end(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "PART", 3)
    for name in "ab":
        (tmp_path / name).touch()
    lines = [{"audio_filepath": "a", "duration": 1, "text": "x"} for _ in range(6)]
    lines += [{"audio_filepath": "b", "duration": 2.5, "text": "y"}, {"broken": 1}]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = CheckedManifest(str(tmp_path / "m.jsonl"))
    check_lines(manifest, FaultLog())
    parts = list(AudioParts(manifest))
    assert [[u.source.rpartition(":")[2] for u in span] for span, _ in parts] == [
        ["1", "2", "3"],
        ["4", "5", "6"],
        ["7"],
    ]
    # A file that several lines name need not reach to its end.
    assert [list(whole) for _, whole in parts] == [[0, 0, 0], [0, 0, 0], [1]]
    assert [u.duration_s for u in parts[2][0]] == [2.5]
