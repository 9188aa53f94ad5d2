"""Evaluations: the same of a SavedModel as of the Keras model, and what the report and the page say."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import jiwer
import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf.__main__ import main
from jasper_tf.config import config_from_dict
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.evaluation.evaluate import Evaluation, ScoredUtterance, evaluate
from jasper_tf.inference.evaluation.page import write_page
from jasper_tf.inference.evaluation.report import as_json, as_text
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.metrics.confusions import Confusions
from jasper_tf.metrics.edits import count_edits, find_edits

LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
HOSTILE = [
    '<script>alert("1")</script>',
    "\"><img src=x onerror='alert(1)'>",
    "a&amp;b",
    "</article>",
    "\u202ecod\x1b[2J",
]


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


def scored(reference, hypothesis, path="absent.wav", duration_s=1.0):
    counts = (count_edits(find_edits(reference, hypothesis, unit)) for unit in ("word", "character"))
    return ScoredUtterance(Utterance(path, 0.0, duration_s, reference, f"m.jsonl:{path}"), hypothesis, *counts)


def evaluation_of(*utterances):
    found = Evaluation(list(utterances), audio_s=sum(one.utterance.duration_s for one in utterances), elapsed_s=0.5)
    for one in utterances:
        found.words, found.characters = found.words + one.words, found.characters + one.characters
        found.word_confusions.add(find_edits(one.utterance.text, one.text))
        found.character_confusions.add(find_edits(one.utterance.text, one.text, "character"))
    return found


@pytest.fixture(scope="module")
def stereo(tmp_path_factory, model):
    """A run's folder whose validation reads channel 1, and a manifest of five recordings, one in a part of a file."""
    folder = tmp_path_factory.mktemp("stereo")
    chance = np.random.default_rng(1)
    lines = []
    for k, seconds in enumerate((0.6, 2.4, 1.0, 1.5)):
        soundfile.write(folder / f"{k}.flac", chance.normal(scale=0.1, size=(int(16000 * seconds), 2)), 16000)
        lines.append({"audio_filepath": f"{k}.flac", "duration": seconds, "text": f"a word {k} é"})
    lines.append({"audio_filepath": "1.flac", "offset": 0.5, "duration": 0.8, "text": "i"})
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.keras")
    block = {"filters": 24, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.2}
    values = {
        "labels": LABELS,
        "preprocessor": {},
        "encoder": {"feat_in": 64, "jasper": [{**block, "residual": False}]},
        "decoder": {},
        "optim": {"lr": 0.01},
        "validation_ds": {"manifest_filepath": "m.jsonl", "channel_selector": 1, "trim_silence": True},
    }
    config = yaml.safe_dump(config_from_dict({"name": "stereo", "model": values}).to_dict())
    (folder / "run" / "config.yaml").write_text(config)
    return folder


@pytest.fixture(scope="module", params=["plain", "batchable"])
def version(request, stereo, model, tmp_path_factory):
    config = (stereo / "run" / "config.yaml").read_text()
    return export(model, tmp_path_factory.mktemp("served"), config, batchable=request.param == "batchable")


@pytest.mark.medium
@pytest.mark.parametrize("options", [[], ["--chunk-s", "0.9"], ["--channel-selector", "average", "--no-trim-silence"]])
def test_a_saved_model_gives_the_same(stereo, version, tmp_path, options):
    found = {}
    for name, path in (("keras", stereo / "run"), ("versions", version.parent), ("version", version)):
        files = [
            f"--output={tmp_path}/{name}.jsonl",
            f"--json={tmp_path}/{name}.json",
            f"--html={tmp_path}/{name}.html",
        ]
        command = ["evaluate", "--model", str(path), "--manifest", str(stereo / "m.jsonl"), "--batch-size", "2"]
        assert main([*command, *files, *options]) == 0
        report = json.loads((tmp_path / f"{name}.json").read_text())
        del report["real_time_factor"]
        page = (tmp_path / f"{name}.html").read_text()
        found[name] = [
            (tmp_path / f"{name}.jsonl").read_text(),
            report,
            re.findall("<article>.*?</article>", page, re.S),
        ]
    assert found["keras"] == found["versions"] == found["version"]
    report = found["keras"][1]
    assert (report["channel_selector"], report["trim_silence"]) == (
        ("average", False) if "average" in options else (1, True)
    )
    assert len(report["worst"]) == 5 and report["unknown_characters"] == {"é": 4, **{str(k): 1 for k in range(4)}}


def test_an_evaluation_counts_as_jiwer(stereo, model):
    utterances = [
        Utterance(str(stereo / f"{k}.flac"), 0.0, duration_s, text, f"m:{k}")
        for k, (duration_s, text) in enumerate(((0.6, "a b"), (2.4, ""), (1.0, "it is so")))
    ]
    found = evaluate(Transcriber(model, words=False), utterances)
    references, hypotheses = [u.text for u in utterances], [one.text for one in found.scored]
    recordings = [stereo / f"{k}.flac" for k in range(3)]
    assert hypotheses == [str(one) for one in model.transcribe(recordings, batch_size=1)]
    want = jiwer.process_words(references, hypotheses)
    assert (found.words.substitutions, found.words.insertions, found.words.deletions) == (
        want.substitutions,
        want.insertions,
        want.deletions,
    )
    confusions = found.word_confusions
    assert [counts.total() for counts in (confusions.substitutions, confusions.insertions, confusions.deletions)] == [
        want.substitutions,
        want.insertions,
        want.deletions,
    ]
    assert found.audio_s == pytest.approx(4.0) and found.elapsed_s > 0
    assert found.calibration is None and as_json(found, {})["calibration"] is None


def test_the_confidence_of_each_word_is_compared_with_its_correctness(stereo, untrained_model):
    model = untrained_model(list(" abc"))
    transcripts = model.transcribe([stereo / "1.flac", stereo / "3.flac"])
    words = [[word.text for word in one.words] for one in transcripts]
    assert min(map(len, words)) > 1
    # The first word is wrong, and one is missing at the end of the second.
    references = [" ".join(["wrong", *words[0][1:]]), " ".join(words[1][:-1])]
    utterances = [
        Utterance(str(stereo / f"{k}.flac"), 0.0, one.duration_s, reference, "m")
        for k, one, reference in zip((1, 3), transcripts, references, strict=True)
    ]
    found = evaluate(Transcriber(model), utterances)
    right = {one.text: [True] * len(one.words) for one in transcripts}
    right[transcripts[0].text][0] = right[transcripts[1].text][-1] = False
    expected = sorted(
        (word.confidence, correct)
        for one in transcripts
        for word, correct in zip(one.words, right[one.text], strict=True)
    )
    pairs = sorted(zip(found.word_confidence, found.word_correct, strict=True))
    assert [one for one, _ in pairs] == pytest.approx([one for one, _ in expected], abs=1e-5)
    assert [correct for _, correct in pairs] == [correct for _, correct in expected]
    error = found.calibration.error
    assert as_json(found, {})["calibration"]["ece"] == pytest.approx(error, abs=1e-6)
    assert f"ECE {error:.2%}" in as_text(found)
    page, _, content = page_of(found, Transcriber(model))
    [picture] = page.all("img")
    kind, _, data = picture["src"].partition(",")
    assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(b"\x89PNG")
    assert f"{error:.2%}" in content and "img-src data:" in page.all("meta")[2]["content"]


def test_the_worst_first():
    found = evaluation_of(
        scored("a b c d", "a b c x", "one"), scored("a b c", "x y z", "three"), scored("a", "b", "short"),
        scored("yes no", "yes no", "right"),
    )  # fmt: skip
    assert [one.utterance.path for one in found.worst_first()] == ["three", "short", "one", "right"]
    worst = as_json(found, {})["worst"]
    assert [one["audio_filepath"] for one in worst] == ["three", "short", "one"]
    assert worst[2]["alignment"][3] == {"edit": "substitute", "reference": "d", "hypothesis": "x"}
    text = as_text(found)
    assert text.index("three") < text.index("short") < text.index("one") and "right" not in text
    assert "a -> " in text and "words deleted" not in text


def test_the_report_is_short_and_steers_no_terminal():
    references = [" ".join(f"r{k}" for k in range(300)), *HOSTILE] * 10
    found = evaluation_of(*(scored(reference, f"{reference} \x1b[2J\u202e wrong") for reference in references))
    lines = as_text(found).splitlines()
    assert len(lines) < 50 and all(line.isprintable() and len(line) < 1500 for line in lines)
    assert len(json.dumps(as_json(found, {}))) < 2_000_000


def test_without_an_error_the_report_is_one_line():
    assert as_text(evaluation_of(scored("a b", "a b"))).count("\n") == 0


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of the style sheet."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.text, self._style = [], [], False
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if not self._style:
            self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(found, transcriber, model="runs/<b>m"):
    file = io.StringIO()
    summary = write_page(file, found, transcriber, model, "<i>test.json")
    return Page(file.getvalue()), summary, file.getvalue()


def test_the_page_needs_nothing_else_and_escapes_everything(model, tmp_path):
    name = tmp_path / '"><script>.wav'
    soundfile.write(name, np.zeros(1600), 16000)
    found = evaluation_of(*(scored(text, f"{text} {text[::-1]}", str(name), 0.1) for text in HOSTILE))
    found.errors[9] = "m.jsonl:9: <script>"
    found.unknown_characters.update("<>&\"'")
    page, _, content = page_of(found, Transcriber(model))
    assert {tag for tag, _ in page.tags} <= set(
        "html meta title style h1 h2 table tr th td p span del ins i b div article audio ul li".split()
    )
    for _, attributes in page.tags:
        assert not any(key.startswith("on") for key in attributes)
        assert attributes.get("src", "data:").startswith("data:audio/flac;base64,") or "src" not in attributes
        assert "href" not in attributes
    assert "default-src 'none'" in page.all("meta")[2]["content"] and "url(" not in content and "@import" not in content
    text = "".join(page.text)
    for hostile in HOSTILE[:4]:
        assert all(word in text for word in hostile.split())
    assert text.replace("\n", "").isprintable() and "runs/<b>m" in text and "<i>test.json" in text


def test_the_recordings_are_what_the_model_heard(model, stereo):
    found = evaluation_of(scored("a", "b", str(stereo / "1.flac"), 2.4), scored("a", "a", str(stereo / "0.flac"), 0.6))
    page, summary, _ = page_of(found, Transcriber(model, channel_selector=1))
    assert len(page.all("audio")) == 2 and "2 of 2" in summary and "2 with" in summary
    for name, audio in zip(("1.flac", "0.flac"), page.all("audio"), strict=True):
        sound, rate = soundfile.read(io.BytesIO(base64.b64decode(audio["src"].partition(",")[2])))
        assert rate == 16000
        np.testing.assert_allclose(sound, soundfile.read(stereo / name)[0][:, 1], atol=2**-15)


def test_what_is_beyond_the_bound_is_linked_and_counted(model, tmp_path):
    long, short = tmp_path / "a long one#.flac", tmp_path / "short.flac"
    soundfile.write(long, np.zeros(16000 * 510, np.int16), 16000)
    soundfile.write(short, np.zeros(1600, np.int16), 16000)
    found = evaluation_of(scored("a b", "x y", str(long), 510.0), scored("a", "x", str(short), 0.1), scored("a", "a"))
    page, summary, content = page_of(found, Transcriber(model))
    assert [link["href"] for link in page.all("a")] == [f"file://{tmp_path}/a%20long%20one%23.flac#t=0"]
    assert len(page.all("audio")) == 1 and "1 with" in summary and "1 recordings are linked" in summary
    assert "absent.wav: no such file" in content and "1 utterances are without" in summary
    many = evaluation_of(*(scored("a", "b", str(long), 510.0) for _ in range(1001)))
    page, summary, _ = page_of(many, Transcriber(model))
    assert len(page.all("article")) == 1000 and summary.startswith("page: 1000 of 1001 utterances, 0 with")


def test_the_confusions_show_spaces(model):
    found = evaluation_of(scored("a b", "ab"))
    assert isinstance(found.character_confusions, Confusions)
    page, _, _ = page_of(found, Transcriber(model))
    assert "␣ " in "".join(page.text) and "' ' deleted" in as_text(found)
