"""Synthesizes a small corpus of digits and short commands with eSpeak NG.

The library comes out of the wheel `espeakng-loader` (extra `demo`) and is called through ctypes.
The voices of train, dev and test are disjoint: no variant of a test voice is ever heard in training.
"""

import ctypes
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import soundfile
import soxr

from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write

SAMPLE_RATE_HZ = 16_000

# eSpeak NG's C API (speak_lib.h): the values of its enums.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_RATE, _PITCH = 1, 3
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

ACCENTS = ("en", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")

# Whispering, croaking and robot variants are left out. Relatives (Gene, Gene2) stay in one split.
VOICES = {
    "train": (
        "m1 m2 m4 m7 m8 f1 f4 Alicia Andrea Denis Gene Gene2 Jacky Marco Mario Michael Mike adam anika announcer "
        "antonio aunty benjamin boris ed edward grandma grandpa gustave ian iven john klatt klatt4 marcelo max michel "
        "miguel norbert pablo paul pedro quincy rob robert shelby steph travis victor zac"
    ).split(),
    "dev": "m5 f3 Lee belinda".split(),
    "test": "m3 m6 f2 f5 Alex Annie david linda".split(),
}

DIGITS = "zero one two three four five six seven eight nine".split()
ACTIONS = ("turn on", "turn off", "open", "close", "start", "stop", "show", "lock")
PLACES = ("kitchen", "bedroom", "garden", "office")
THINGS = ("light", "door", "window", "music", "heating", "camera")
ADJUSTMENTS = ("volume up", "volume down", "go back", "next song", "good night", "call home")


class Synthesizer:
    """eSpeak NG as a context manager.

    Raises:
        UserError: the wheel is not installed, or the library refuses to start or a voice does not exist.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise UserError(
                "speech synthesis needs the package espeakng-loader: pip install 'jasper-tf[demo]'"
            ) from None
        try:
            self._library = _load_private_copy(Path(espeakng_loader.get_library_path()))
        except OSError as error:
            raise UserError(f"espeakng-loader: its libespeak-ng does not load on this machine: {error}") from None
        self._data_path = str(espeakng_loader.get_data_path()).encode()
        self._chunks: list[bytes] = []
        self._callback = _SYNTH_CALLBACK(self._collect)  # kept: the library holds only a bare pointer to it
        self.sample_rate_hz = 0

    def __enter__(self) -> "Synthesizer":
        self.sample_rate_hz = self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, self._data_path, 0)
        if self.sample_rate_hz <= 0:
            raise UserError("espeakng-loader: espeak_Initialize failed; reinstall it: pip install 'jasper-tf[demo]'")
        self._library.espeak_SetSynthCallback(self._callback)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.espeak_Terminate()

    def _collect(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def speak(self, text: str, voice: str, *, rate_wpm: int = 160, pitch: int = 50, seed: int = 0) -> np.ndarray:
        """Synthesizes `text`: audio [S] float32 in [-1, 1] at 16 kHz.

        Args:
            text: of the sentence.
            voice: as eSpeak names it, with or without "+variant".
            rate_wpm: words a minute, 80 to 450.
            pitch: 0 to 100.
            seed: of breath and flutter.

        Raises:
            UserError: there is no such voice, or the library gives no audio.
        """
        self._chunks.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise UserError(f"espeak-ng has no voice {voice!r}")
        # Breath and flutter come from a generator that otherwise starts at the time of day.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._library.espeak_SetParameter(_RATE, rate_wpm, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        data = text.encode()
        status = self._library.espeak_Synth(
            data, ctypes.c_size_t(len(data) + 1), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
        )
        self._library.espeak_Synchronize()
        if status != 0 or not self._chunks:
            raise UserError(f"espeak-ng gave no audio for {text!r} with voice {voice!r} (status {status})")
        audio = np.frombuffer(b"".join(self._chunks), np.int16).astype(np.float32) / 32768.0
        return soxr.resample(audio, self.sample_rate_hz, SAMPLE_RATE_HZ)


def _load_private_copy(file: Path) -> ctypes.CDLL:
    """Loads the library from a copy of its file, so that its static state is fresh.

    espeak_Terminate leaves oscillator phases behind: a second corpus of one process would differ from the first.
    """
    with tempfile.TemporaryDirectory() as folder:
        return ctypes.CDLL(shutil.copy(file, folder))


def corpus_files(folder: Path, counts: Mapping[str, int]) -> tuple[list[Path], list[Path]]:
    """The manifests and the audio files that `make_corpus` writes for these numbers of utterances."""
    manifests = [folder / f"{split}.jsonl" for split, count in counts.items() if count > 0]
    sounds = [folder / _sound_name(split, number) for split, count in counts.items() for number in range(count)]
    return manifests, sounds


def _sound_name(split: str, number: int) -> str:
    return f"wav/{split}/{number:05d}.wav"


def make_corpus(
    folder: str | Path, *, train: int = 2400, dev: int = 160, test: int = 240, seed: int = 0
) -> dict[str, Path]:
    """Writes `folder`/{train,dev,test}.jsonl (NeMo manifests with `speaker`) and 16-bit WAV files at 16 kHz.

    The same arguments give the same bytes. Files appear whole, a manifest after its audio files.

    Args:
        folder: created where it is missing; files of an earlier corpus there are replaced.
        train, dev, test: utterances of each split; 0 leaves the split out.
        seed: draws sentences, voices, rates, pitches, levels and pauses.

    Returns:
        The manifests' paths by split.

    Raises:
        UserError: a negative count, or see `Synthesizer`.
    """
    counts = {"train": train, "dev": dev, "test": test}
    for split, count in counts.items():
        if count < 0:
            raise UserError(f"{split}={count}: the number of utterances must be 0 or more")
    folder = Path(folder)
    manifests: dict[str, Path] = {}
    with Synthesizer() as synthesizer:
        for index, (split, count) in enumerate(counts.items()):
            if count == 0:
                continue
            (folder / "wav" / split).mkdir(parents=True, exist_ok=True)
            manifests[split] = folder / f"{split}.jsonl"
            with atomic_write(manifests[split]) as manifest:
                for entry in _speak_split(synthesizer, folder, split, count, np.random.default_rng((seed, index))):
                    manifest.write(json.dumps(entry) + "\n")
    return manifests


def _speak_split(
    synthesizer: Synthesizer, folder: Path, split: str, count: int, rng: np.random.Generator
) -> Iterator[dict[str, str | float]]:
    voices = VOICES[split]
    for number in range(count):
        text = _sentence(rng)
        speaker = voices[number % len(voices)]  # in turn: every voice of the split is heard
        voice = f"{ACCENTS[rng.integers(len(ACCENTS))]}+{speaker}"
        spoken = synthesizer.speak(
            text,
            voice,
            rate_wpm=int(rng.integers(110, 186)),
            pitch=int(rng.integers(25, 76)),
            seed=int(rng.integers(2**31)),
        )
        peak = 10.0 ** (rng.uniform(-20.0, -1.0) / 20.0)
        before, after = (rng.uniform(0.05, 0.3, size=2) * SAMPLE_RATE_HZ).astype(int)
        audio = np.pad(spoken * (peak / max(float(np.abs(spoken).max()), 1e-6)), (before, after))
        name = _sound_name(split, number)
        with atomic_write(folder / name, binary=True) as file:
            soundfile.write(file, audio, SAMPLE_RATE_HZ, subtype="PCM_16", format="WAV")
        yield {
            "audio_filepath": name,
            "duration": round(len(audio) / SAMPLE_RATE_HZ, 4),
            "text": text,
            "speaker": speaker,
            "voice": voice,
        }


def _sentence(rng: np.random.Generator) -> str:
    """One to five digits (half of the time), else a command."""

    def pick(choices: tuple[str, ...] | list[str]) -> str:
        return choices[rng.integers(len(choices))]

    kind = rng.uniform()
    if kind < 0.5:
        return " ".join(pick(DIGITS) for _ in range(rng.integers(1, 6)))
    if kind < 0.85:
        place = f" {pick(PLACES)}" if rng.uniform() < 0.5 else ""
        return f"{pick(ACTIONS)} the{place} {pick(THINGS)}"
    if kind < 0.95:
        return f"set timer to {pick(DIGITS)} minutes"
    return pick(ADJUSTMENTS)
