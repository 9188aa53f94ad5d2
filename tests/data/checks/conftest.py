"""A corpus with one fault of every kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16000


def speech(seconds: float, seed: int, rate: int = RATE) -> np.ndarray:
    """[S] noise with an envelope: loud enough, never at full scale, each seed another one."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return 0.2 * np.sin(3 * time) ** 2 * rng.uniform(-1, 1, len(time))


@pytest.fixture(scope="session")
def bad_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.json (each bad line's text is unique), dev.json (one good line, one that train.json holds), 60 good lines.

    kinds.json maps the line numbers of train.json to their kinds.
    """
    folder = tmp_path_factory.mktemp("bad_corpus")
    (folder / "wav").mkdir()
    for i in range(30):
        soundfile.write(folder / f"wav/good{i}.wav", speech(1 + i / 20, i), RATE)
    soundfile.write(folder / "wav/held_out.wav", speech(1.5, 100), RATE)
    samples, _ = soundfile.read(folder / "wav/good0.wav", dtype="int16")
    soundfile.write(folder / "wav/copy_of_good0.flac", samples, RATE)
    soundfile.write(folder / "wav/also_held_out.wav", speech(1.5, 101), RATE)
    soundfile.write(folder / "wav/copy_of_held_out.wav", speech(1.5, 101), RATE)

    soundfile.write(folder / "wav/truncated.wav", speech(2, 200), RATE)
    content = (folder / "wav/truncated.wav").read_bytes()
    (folder / "wav/truncated.wav").write_bytes(content[: len(content) // 2])
    (folder / "wav/text.wav").write_text("this is no sound")
    broken = speech(1, 201).astype(np.float32)
    broken[700] = np.nan
    soundfile.write(folder / "wav/nan.wav", broken, RATE, subtype="FLOAT")
    soundfile.write(folder / "wav/zeros.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "wav/faint.wav", speech(1, 202) / 1000, RATE)
    soundfile.write(folder / "wav/clipped.wav", np.clip(30 * speech(1, 203), -1, 1), RATE)
    soundfile.write(folder / "wav/clipped.au", np.clip(30 * speech(1, 204), -1, 1), RATE, subtype="ULAW")
    soundfile.write(folder / "wav/longer.wav", speech(3, 205), RATE)
    soundfile.write(folder / "wav/shorter.wav", speech(1, 206), RATE)
    soundfile.write(folder / "wav/telephone.wav", speech(1, 207, 8000), 8000)
    for i, name in enumerate(("unknown", "empty", "infeasible", "slow", "fast")):
        soundfile.write(folder / f"wav/{name}.wav", speech(1.5 + 8 * (name == "slow"), 300 + i), RATE)

    def line(path, duration=1.0, text="twelve letters", **more):
        entry = {"audio_filepath": path, "duration": duration, "text": text, **more}
        return json.dumps(entry, ensure_ascii=False).encode()

    rows: list[tuple[bytes, str]] = [(line(f"wav/good{i}.wav", round(1 + i / 20, 3)), "") for i in range(30)]
    # Parts of one file are neither duplicates nor too short for it.
    rows += [(line("wav/good29.wav", 1.0, offset=0.1 + i / 100, speaker="x"), "") for i in range(30)]
    rows[0] = (b"\xef\xbb\xbf" + rows[0][0] + b"\r", "")
    rows += [
        (b"", ""),
        (b" \t\r", ""),
        (b'{"audio_filepath": "wav/good0.wav", "duration": 1.0, "text": "caf\xe9"}', "broken line"),
        (b'{"audio_filepath": "wav/good0.wav", "text": "one", "duration": 1.0, "text": "two"}', "broken line"),
        (line("wav/good0.wav", "1.0"), "broken line"),
        (line("wav/good0.wav", -1.0), "broken line"),
        (line("wav/good0.wav", 0), "broken line"),
        (b'["wav/good0.wav", 1.0, "yes"]', "broken line"),
        (b'{"audio_filepath": "wav/good0.wav", "duration": 1.0}', "broken line"),
        (line("wav/gone.wav"), "missing"),
        (line("wav\\good0.wav"), "missing"),
        (line("wav"), "unreadable"),
        (line("wav/text.wav"), "unreadable"),
        (line("wav/truncated.wav", 2.0), "truncated"),
        (line("wav/nan.wav"), "not finite"),
        (line("wav/zeros.wav"), "silent"),
        (line("wav/faint.wav"), "silent"),
        (line("wav/clipped.wav"), "clipped"),
        (line("wav/clipped.au"), "clipped"),
        (line("wav/longer.wav"), "wrong duration"),
        (line("wav/shorter.wav", 2.0), "wrong duration"),
        (line("wav/good3.wav", 1.0, offset=7.0), "wrong duration"),
        (line("wav/telephone.wav"), "wrong rate"),
        (line("wav/unknown.wav", 1.5, "naïve 3 letters"), "characters outside labels"),
        (line("wav/empty.wav", 1.5, "  "), "empty text"),
        (line("wav/infeasible.wav", 1.5, "aa" * 20), "infeasible for CTC"),
        (line("wav/slow.wav", 9.5, "no"), "speaking rate"),
        (line("wav/fast.wav", 1.5, "abc" * 24), "speaking rate"),
        (line("wav/good1.wav", 1.05, "another text"), "duplicate"),
        (line("./wav/good2.wav", 1.1), "duplicate"),
        (line("wav/copy_of_good0.flac", 1.0), "duplicate"),
        (line("wav/held_out.wav", 1.5), "leak"),
        (line("wav/copy_of_held_out.wav", 1.5), "leak"),
        (b'{"audio_filepath": "wav/good0.wav", "duration": 1.0, "te', "broken line"),
    ]
    (folder / "train.json").write_bytes(b"\n".join(content for content, _ in rows))
    (folder / "dev.json").write_bytes(line("wav/held_out.wav", 1.5) + b"\n" + line("wav/also_held_out.wav", 1.5))
    kinds = {number: kind for number, (_, kind) in enumerate(rows, start=1) if kind}
    (folder / "kinds.json").write_text(json.dumps(kinds))
    return folder
