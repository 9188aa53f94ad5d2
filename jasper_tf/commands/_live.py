"""`transcribe --live`: a microphone or piped samples to text, while they are heard."""

from __future__ import annotations

import argparse
import contextlib
import json
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
from rich.cells import cell_len, chop_cells, set_cell_size

from jasper_tf.audio.microphone import Microphone
from jasper_tf.audio.pcm_stream import PcmStream
from jasper_tf.commands._decoding import DecodingOptions
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.inference.streaming.live_update import LiveUpdate
from jasper_tf.inference.transcriber import Transcriber

_LIVE_OPTIONS: dict[str, Any] = {"sample_rate": 16000, "device": None, "buffer_s": "4.8,1.6,1.6", "endpoint_s": 0.8}
_OTHER_OPTIONS: dict[str, Any] = {"output_dir": None, "overwrite": False, "batch_size": 16, "chunk_s": 40.0}
_OTHER_OPTIONS |= {"overlap_s": 4.0, "workers": None, "runner": None, "runner_options": None, "work_dir": None}
"""With the values that they have when they are not given."""
_WAIT_S = 0.1
_PIPED_BLOCKS = 4
_DIM, _PLAIN, _CLEAR = "\x1b[2m", "\x1b[0m", "\r\x1b[K"


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("live")
    group.add_argument(
        "--live",
        action="store_true",
        help="transcribe a microphone (the extra microphone), or with - 16-bit samples of one channel from standard "
        "input, raw or WAV, while they are heard; Ctrl-C ends it",
    )
    group.add_argument("--sample-rate", type=int, metavar="HZ", help="of raw samples from standard input (16000)")
    group.add_argument("--device", metavar="D", help="the microphone's number or a part of its name")
    group.add_argument(
        "--buffer-s",
        metavar="L,C,R",
        help="seconds that the model sees before each chunk, of it and behind it (4.8,1.6,1.6); text comes C + R "
        "seconds late",
    )
    group.add_argument(
        "--endpoint-s", type=float, metavar="S", help="a pause that ends a line, seconds (0.8); 0: none does"
    )


def validate_live_arguments(arguments: argparse.Namespace) -> None:
    """Refuses options that have no effect.

    Raises:
        UserError: names one.
    """
    wrong = _OTHER_OPTIONS if arguments.live else dict.fromkeys(_LIVE_OPTIONS)
    for name, absent in wrong.items():
        if getattr(arguments, name) != absent:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option}: not with --live" if arguments.live else f"{option}: only with --live")


def run_live(arguments: argparse.Namespace, names: Sequence[str], overrides: Sequence[str]) -> int:
    """Prints text as it becomes known; 0 at the end of the input or after Ctrl-C."""
    [form, *more] = arguments.format
    if more or form not in ("text", "json"):
        raise UserError(f"--live: --format {','.join(arguments.format)}; choose text or json")
    if arguments.words and form == "text":
        raise UserError("--live: --words needs --format json")
    if arguments.n_best is not None and form == "text":
        raise UserError("--live: --n-best needs --format json")
    if list(names) not in ([], ["-"]):
        raise UserError(f"--live: {names[0]!r} is no live source; give - for standard input, or nothing")
    if not names and arguments.sample_rate is not None:
        raise UserError("--sample-rate: only for standard input (-); a microphone has its own")
    if names and arguments.device is not None:
        raise UserError("--device: only for a microphone, not for standard input (-)")
    given = {name: getattr(arguments, name) for name in _LIVE_OPTIONS}
    settings = {name: _LIVE_OPTIONS[name] if value is None else value for name, value in given.items()}
    seconds = _read_seconds(str(settings["buffer_s"]))
    decoding = DecodingOptions(arguments, overrides)
    require_model_path(arguments.model, exports=True)
    stdout = sys.stdout
    # stdout is for texts only; what a library prints goes to stderr.
    with contextlib.redirect_stdout(sys.stderr), contextlib.closing(_open_source(names, settings)) as source:
        live = _start(arguments.model, decoding, seconds, settings["endpoint_s"], source.sample_rate)
        if live.note:
            print(f"note: {live.note}", file=sys.stderr)
        rate = f"{printable(source.name)} ({source.sample_rate} Hz)"
        print(f"listening to {rate}; text follows {live.delay_s:.1f} s later; Ctrl-C ends", file=sys.stderr, flush=True)
        show = _JsonLines(stdout, arguments.words) if form == "json" else _TextLines(stdout)
        stopped = _stopped_by_ctrl_c()
        source.start()
        while not stopped.is_set() and (block := source.read(_WAIT_S)) is not None:
            show(live.push(block))
        show(live.finish())
        if source.lost_s:
            print(f"{source.lost_s:.1f} s were lost: this machine is slower than the speech", file=sys.stderr)
    return 0


def _read_seconds(value: str) -> list[float]:
    try:
        [left_s, chunk_s, right_s] = (float(one) for one in value.split(","))
    except ValueError:
        raise UserError(f"--buffer-s {value}: must be three numbers of seconds, such as 4.8,1.6,1.6") from None
    return [left_s, chunk_s, right_s]


def _open_source(names: Sequence[str], settings: Mapping[str, Any]) -> Microphone | _Pipe:
    if names:
        if sys.stdin is None or sys.stdin.isatty():
            raise UserError("standard input is no pipe; send samples to it, such as arecord -f S16_LE -r 16000 | ...")
        return _Pipe(PcmStream(sys.stdin.buffer, settings["sample_rate"]))
    return Microphone(settings["device"])


class _Pipe:
    """Reads standard input in a thread, so that Ctrl-C need not wait for it; the interface of `Microphone`."""

    name, lost_s = "standard input", 0.0

    def __init__(self, samples: PcmStream):
        self.sample_rate = samples.sample_rate
        self._samples = samples
        self._blocks: queue.Queue[np.ndarray | None] = queue.Queue(_PIPED_BLOCKS)

    def start(self) -> None:
        threading.Thread(target=self._fill, daemon=True).start()

    def close(self) -> None:
        """The thread may wait for input; it ends with the process."""

    def read(self, timeout_s: float) -> np.ndarray | None:
        """The next audio [S] float32; empty if there is none for so long, None at the end."""
        try:
            return self._blocks.get(timeout=timeout_s)
        except queue.Empty:
            return np.zeros(0, np.float32)

    def _fill(self) -> None:
        with contextlib.suppress(OSError):  # the other side has gone: the end
            for block in self._samples.blocks():
                self._blocks.put(block)
        self._blocks.put(None)


def _start(
    model: str, decoding: DecodingOptions, seconds: Sequence[float], endpoint_s: float, sample_rate: int
) -> LiveTranscription:
    recognizer = load_recognizer(model)
    config = decoding.apply(recognizer.decoding_config) if decoding.given else None
    transcriber = Transcriber(recognizer, decoding=config)
    left_s, chunk_s, right_s = seconds
    # The first steps of a model take seconds: they are taken before anybody speaks.
    transcriber.stream(left_s, chunk_s, right_s).warm_up()
    return transcriber.stream(left_s, chunk_s, right_s, endpoint_s, sample_rate=sample_rate)


def _stopped_by_ctrl_c() -> threading.Event:
    """An event that the first Ctrl-C sets; the second one interrupts."""
    stopped = threading.Event()

    def stop(signum: int, frame: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, stop)
    return stopped


class _JsonLines:
    """An object a line for each update, final or partial."""

    def __init__(self, stdout: TextIO, words: bool):
        self._stdout, self._words = stdout, words

    def __call__(self, updates: Iterable[LiveUpdate]) -> None:
        for update in updates:
            line = json.dumps(update.as_json(self._words), ensure_ascii=False)
            print(printable(line), file=self._stdout, flush=True)


class _TextLines:
    """Final words as they come, a line ends at an endpoint; on a terminal partial words stand behind them, dimmed."""

    def __init__(self, stdout: TextIO):
        self._stdout, self._is_terminal = stdout, stdout.isatty()
        self._line = ""  # of a terminal

    def __call__(self, updates: Iterable[LiveUpdate]) -> None:
        for update in updates:
            if self._is_terminal:
                self._draw(update)
            elif update.kind == "final":
                self._write(update)
        self._stdout.flush()

    def _write(self, update: LiveUpdate) -> None:
        text = f" {printable(update.text)}" if self._line and update.text else printable(update.text)
        ends = update.endpoint and (self._line or text)
        self._stdout.write(text + "\n" * bool(ends))
        self._line = "" if ends else self._line or text

    def _draw(self, update: LiveUpdate) -> None:
        width = shutil.get_terminal_size().columns - 1
        partial = ""
        if update.kind == "partial":
            partial = printable(update.text)
            if self._line and partial and cell_len(f"{self._line} {partial}") > width:
                self._end_line()
        words = update.words if update.kind == "final" else ()
        for text in (part for word in words for part in chop_cells(printable(word.text), width)):
            if self._line and cell_len(f"{self._line} {text}") > width:
                self._end_line()
            self._line = f"{self._line} {text}".lstrip()
        room = width - cell_len(self._line) - 1
        if cell_len(partial) > room:
            partial = set_cell_size(partial, max(room - 1, 0)) + "…"
        shown = f" {_DIM}{partial}{_PLAIN}" if partial else ""
        self._stdout.write(_CLEAR + (self._line + shown).lstrip())
        if update.endpoint and self._line:
            self._end_line()

    def _end_line(self) -> None:
        self._stdout.write(f"{_CLEAR}{self._line}\n")
        self._line = ""
