"""An exported page in a real Chromium, from a static web server, with a fake microphone."""

import json
import re
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from jasper_tf import Transcriber
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.edge.recognizer import EdgeRecognizer
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.subtitles import format_transcript
from tests.serving.http.conftest import as_wav, noise

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = sync_api.expect

pytestmark = pytest.mark.medium

SOON = 30_000
"""Milliseconds that a browser on a busy machine may take."""


_WATCH = """
const create = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  if (blob.type === "audio/wav") window.recorded = blob;
  return create.call(URL, blob);
};
"""
"""Keeps what the page plays."""


@pytest.fixture
def open_page(chromium, static_server):
    """`open_page(url, ...)`: the page, ready. At the end nothing failed in it, and no request left the host."""
    contexts, problems, hosts = [], [], set()

    def open_page(url=f"{static_server.url}/speech/page/", **options):
        context = chromium.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("websocket", lambda socket: hosts.add(socket.url))
        page.goto(url)
        expect(page.locator("#choose")).to_be_enabled(timeout=SOON)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems
    assert hosts <= {"127.0.0.1", None}, hosts  # None: blob:


def give(page, content: bytes) -> None:
    page.locator("#result").evaluate("(result) => { result.hidden = true; }")
    page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": content})
    expect(page.locator("#result")).to_be_visible(timeout=SOON)


def saved(page, form: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-format={form}]")
    return download.value.path().read_text(encoding="utf-8")


def words_of(page) -> str:
    return " ".join(page.locator("#words .word").all_inner_texts())


def assert_close(found, wanted) -> None:
    """The same, numbers to 2e-4: they are rounded to 1e-4."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert_close(found[key], value)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_close(one, other)
    else:
        assert found == (wanted if isinstance(wanted, str) else pytest.approx(wanted, abs=2e-4))


def test_files_give_the_transcripts_of_the_package(open_page, web_model):
    page = open_page()
    # The first is shorter than the model takes, the second is cut in two.
    for seed, seconds in ((7, 0.02), (8, 71.3), (5, 4.0)):
        content = as_wav(noise(seed, seconds), subtype="PCM_16")
        give(page, content)
        wanted = web_model.transcribe(content, batch_size=1)
        assert_close(json.loads(saved(page, "json")), wanted.as_json())
        assert words_of(page) == " ".join(word.text for word in wanted.words)
    for form, name in (("srt", "srt"), ("vtt", "vtt"), ("txt", "text")):
        assert saved(page, form) == format_transcript(wanted, name)
    expect(page.locator("#posterior")).to_have_attribute("aria-label", re.compile("labels from 0:00.0 to 0:04.0"))
    colors = page.locator("#posterior").evaluate(
        "(c) => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )
    assert colors > 10


def test_a_live_stream_gives_the_words_of_the_package(open_page, site):
    audio = np.concatenate([noise(9, 5.0), np.zeros(24_000, np.float32), noise(10, 2.3)])
    pcm = np.round(audio * 32767).astype(np.int16)
    live = Transcriber(EdgeRecognizer(site / "speech" / "page")).stream()
    updates = [update for block in np.split(pcm, range(1600, len(pcm), 1600)) for update in live.push(block)]
    wanted = [update for update in (*updates, *live.finish()) if update.kind == "final"]
    page = open_page()
    found = page.evaluate(
        """async (pcm) => {
          const { Server } = await import("./page/server.js");
          const server = new Server();
          while (!(await server.about()).ready) await new Promise((resolve) => setTimeout(resolve, 20));
          const found = [];
          let stream;
          const done = new Promise((resolve, reject) => {
            const on = { open() {}, partial() {}, done: resolve, error: reject };
            on.final = (message) => found.push(message);
            stream = server.openStream({ sampleRate: 16000 }, on);
          });
          for (let at = 0; at < pcm.length; at += 1600) {
            stream.push(Int16Array.from(pcm.slice(at, at + 1600)));
            while (stream.busy) await new Promise((resolve) => setTimeout(resolve, 1));
          }
          stream.end();
          return { duration_s: (await done).duration_s, found };
        }""",
        pcm.tolist(),
    )
    assert found["duration_s"] == pytest.approx(len(pcm) / 16000)
    rows = [word for message in found["found"] for word in message["words"]]
    wanted_rows = [{"text": w.text, "start_s": w.start_s, "end_s": w.end_s} for u in wanted for w in u.words]
    assert_close([{key: row[key] for key in ("text", "start_s", "end_s")} for row in rows], wanted_rows)
    assert sum(message["endpoint"] for message in found["found"]) == sum(u.endpoint and bool(u.words) for u in wanted)


def test_the_microphone(open_page, web_model):
    page = open_page()
    page.click("#record")
    expect(page.locator("#session-delay")).to_contain_text("3.2 s")
    expect(page.locator("#captions")).to_contain_text(re.compile("[a-z]{2}"), timeout=SOON)
    page.click("#stop")
    expect(page.locator("#player")).to_be_visible(timeout=SOON)
    expect(page.locator("#result-title")).to_contain_text("Recording")
    heard = bytes(page.evaluate("async () => [...new Uint8Array(await recorded.arrayBuffer())]"))
    assert words_of(page) == " ".join(word.text for word in web_model.transcribe(heard).words) != ""


def test_only_the_keyboard(open_page, tmp_path):
    file = tmp_path / "speech.wav"
    file.write_bytes(as_wav(noise(5, 2.0), subtype="PCM_16"))
    page = open_page()
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id"))
    assert stops == ["choose", "record", "live"]
    page.locator("#choose").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#result-title")).to_be_focused(timeout=SOON)
    page.locator("#words .word").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#word-detail")).to_contain_text("certain")


def test_a_phone_needs_no_sideways_scrolling_and_mistakes_are_said_in_one_sentence(open_page):
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    give(page, as_wav(np.stack([noise(5, 3.0), noise(6, 3.0)], axis=1), 44100, subtype="PCM_16"))
    assert words_of(page) and page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound at all"})
    expect(page.locator("#error")).to_contain_text("notes.txt: this browser cannot decode it", timeout=SOON)
    expect(page.locator("#progress")).to_be_hidden()


def test_a_second_visit_loads_the_model_from_the_cache(open_page, static_server):
    page = open_page()
    page.reload()
    expect(page.locator("#choose")).to_be_enabled(timeout=SOON)
    requests = [line for line in static_server.log if "model.onnx" in line]
    assert " 304 " in requests[-1]


def test_a_page_opened_as_a_file_says_what_to_do(chromium, site):
    page = chromium.new_page()
    page.goto((site / "speech" / "page" / "index.html").as_uri())
    expect(page.locator("#why-not-started")).to_contain_text("http.server")
    expect(page.locator("#why-not-started")).to_be_visible(timeout=SOON)
    page.close()


def test_a_missing_model_is_said(chromium, static_server):
    page = chromium.new_page()
    page.route("**/model.json", lambda route: route.fulfill(status=404))
    page.goto(f"{static_server.url}/speech/page/")
    expect(page.locator("#error")).to_contain_text("model.json: the web server answered with status 404", timeout=SOON)
    expect(page.locator("#choose")).to_be_disabled()
    page.close()


def test_a_trained_model_gives_the_texts_of_transcribe(open_page, site, static_server, archive, shared):
    model = load_model(shared / "pretrained" / "an4_anchor.nemo")
    export_edge(model, site / "anchor", "web", onnxruntime_web=str(archive), say=lambda line: None)
    manifest = shared / "data" / "an4" / "dev_manifest.json"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()][::4][:20]
    files = [manifest.parent / row["audio_filepath"] for row in rows]
    wanted = model.transcribe(files)
    page = open_page(f"{static_server.url}/anchor/")
    for file, transcript in zip(files, wanted, strict=True):
        audio, rate = soundfile.read(file, dtype="int16")
        give(page, as_wav(audio, rate, subtype="PCM_16"))
        assert json.loads(saved(page, "json"))["text"] == transcript.text
