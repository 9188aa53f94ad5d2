"""The page in a real Chromium, with a fake microphone, on a running server."""

import json
import re
import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.subtitles import format_transcript
from tests.serving.http.conftest import as_wav, noise
from tests.serving.http.live_server import LiveServer

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = sync_api.expect

pytestmark = pytest.mark.slow

RATE = 16000
SOON = 30_000
"""Milliseconds that a browser on a busy machine may take."""


_WATCH = """
window.sentFiles = [];
window.sockets = [];
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (form) { sentFiles.push(form.get("file")); send.call(this, form); };
window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); sockets.push(this); } };
"""
"""Keeps what the page sends."""


def _is_problem(line) -> bool:
    # The browser writes a line for each answer that is an error; the tests ask for some.
    return line.type == "error" and not line.text.startswith("Failed to load resource")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Chromium whose microphone plays 2.4 s of noise, then silence."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed; apt-get install chromium")
    microphone = tmp_path_factory.mktemp("microphone") / "noise.wav"
    sound = np.concatenate([noise(31, 2.4), np.zeros(30 * RATE, np.float32)])
    soundfile.write(microphone, sound, RATE, subtype="PCM_16")
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        "--autoplay-policy=no-user-gesture-required",
        "--host-resolver-rules=MAP plain.example 127.0.0.1",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, server):
    """`open_page(viewport=...)`: the page, ready. At the end nothing failed in it, and no request left the host."""
    contexts, problems, hosts = [], [], set()

    def open_page(**options):
        context = chromium.new_context(accept_downloads=True, **options)
        contexts.append(context)
        context.add_init_script(_WATCH)
        page = context.new_page()
        page.set_default_timeout(SOON)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if _is_problem(line) else None)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))
        page.goto(server.url)
        expect(page.locator("#choose")).to_be_enabled(timeout=SOON)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems
    assert hosts <= {urlsplit(server.url).netloc, ""}, hosts  # "": blob:


def give(page, content: bytes, name: str = "speech.wav") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "audio/wav", "buffer": content})
    expect(page.locator("#result")).to_be_visible(timeout=SOON)


def words_of(page) -> str:
    return " ".join(page.locator("#words .word").all_inner_texts())


def saved(page, form: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-format={form}]")
    assert download.value.suggested_filename == f"speech.{form}"
    return download.value.path().read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recording() -> bytes:
    return as_wav(noise(5, 4.0), subtype="PCM_16")


@pytest.fixture(scope="module")
def transcript(http_model, recording):
    return http_model.transcribe(recording)


def test_a_file_gives_the_text_of_transcribe_with_pictures_and_files_to_save(open_page, recording, transcript):
    page = open_page()
    give(page, recording)
    assert words_of(page) == transcript.text
    shades = page.locator("#words .word").evaluate_all("all => all.map((one) => Number(one.dataset.certainty))")
    assert shades == [sum(word.confidence >= least for least in (0.5, 0.7, 0.9)) for word in transcript.words]
    expect(page.locator("#spectrogram")).to_have_attribute(
        "aria-label", re.compile("spectrogram from 0:00.0 to 0:04.0")
    )
    expect(page.locator("#posterior")).to_have_attribute("aria-label", re.compile(transcript.words[1].text))
    for picture in ("#spectrogram", "#posterior", "#overview canvas"):
        colors = page.locator(picture).evaluate(
            "(c) => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
        )
        assert colors > (1 if "overview" in picture else 10)
    for form in ("srt", "vtt"):
        assert saved(page, form) == format_transcript(transcript, form)
    assert saved(page, "txt") == format_transcript(transcript, "text")
    found, wanted = json.loads(saved(page, "json")), transcript.as_json()
    assert found == wanted


def test_subtitles_of_the_page_are_those_of_the_command(open_page):
    from jasper_tf.decoding.alignment import WordTiming
    from jasper_tf.inference.segments import segment_words
    from jasper_tf.inference.transcript import Transcript

    rng = np.random.default_rng(2)
    words, at = [], 0.0
    for _ in range(400):
        at += float(rng.choice([0.05, 0.2, 0.9, 4.0], p=[0.6, 0.3, 0.07, 0.03]))
        length = int(rng.choice([1, 4, 8, 60, 200], p=[0.2, 0.5, 0.26, 0.02, 0.02]))
        text = "".join(rng.choice(list("abc<&>-'"), length))
        end = at + float(rng.choice([0.1, 0.4, 1.2]))
        words.append(WordTiming(text, round(at, 3), round(end, 3), 0.5))
        at = end
    given = Transcript("", 0.5, tuple(words), segment_words(words), at)
    page = open_page()
    rows = given.as_json()["words"]
    for form, name in (("srt", "asSrt"), ("vtt", "asVtt")):
        found = page.evaluate(f"async (words) => (await import('/page/subtitles.js')).{name}(words)", rows)
        assert found == format_transcript(given, form)


def test_a_word_is_played_from_its_beginning(open_page, recording, transcript):
    page = open_page()
    give(page, recording)
    page.locator("#words .word").nth(3).click()
    word = transcript.words[3]
    expect(page.locator("#word-detail")).to_contain_text(f"“{word.text}”")
    expect(page.locator("#word-detail")).to_contain_text(f"{round(100 * word.confidence)} %")
    page.locator("#audio").evaluate("(audio) => { if (!audio.paused) audio.pause(); }")
    now = page.locator("#audio").evaluate("(audio) => audio.currentTime")
    assert word.start_s - 0.01 <= now


def test_a_long_file_is_shown_in_parts(open_page, http_model):
    from jasper_tf import Transcriber

    content = as_wav(noise(41, 47.0), subtype="PCM_16")
    page = open_page()
    give(page, content)
    assert words_of(page) == Transcriber(http_model, Chunking(10, 2)).transcribe(content).text
    expect(page.locator("#pager")).to_be_visible()
    expect(page.locator("#spectrogram")).to_have_attribute("aria-label", re.compile("from 0:00.0 to 0:20.0"))
    page.click("#later")
    expect(page.locator("#spectrogram")).to_have_attribute("aria-label", re.compile("from 0:20.0 to 0:40.0"))
    page.click("#later")
    page.click("#later")
    expect(page.locator("#posterior")).to_have_attribute("aria-label", re.compile("from 0:40.0 to 0:47.0"))


def test_the_progress_of_a_long_file(server):
    answer = server.transcribe(
        as_wav(noise(41, 100.0), subtype="PCM_16"),
        response_format="verbose_json",
        stream="true",
        **{"timestamp_granularities[]": "word"},
    )
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    shares = [event["progress"] for event in events if event["type"] == "transcript.progress"]
    assert shares and shares == sorted(shares) and 0 < shares[0] < 1
    assert events[-1]["type"] == "transcript.text.done" and events[-1]["words"][0]["confidence"] > 0


def test_hot_words_and_alternatives(open_page, recording, http_model, transcript):
    page = open_page()
    page.click("summary")
    page.fill("#hot-words", "qqq,  zz\nxx yy")
    page.fill("#hot-word-weight", "40")
    page.fill("#n-best", "3")
    give(page, recording)
    decoding = {"strategy": "beam", "beam": {"n_best": 3, "hot_word_weight": 40}}
    wanted = http_model.transcribe(recording, decoding=decoding, hot_words=["qqq", "zz", "xx yy"])
    assert words_of(page) == wanted.text != transcript.text
    items = page.locator("#n-best-list li").all_inner_texts()
    assert [item.partition("score")[0].strip() for item in items] == [one.text for one in wanted.n_best]
    assert len(items) == 3


def test_a_recording_shows_words_while_it_runs_and_then_the_text_of_its_audio(open_page, http_model):
    page = open_page()
    page.click("#record")
    expect(page.locator("#session-delay")).to_contain_text("3.2 s")
    expect(page.locator("#captions")).to_contain_text(re.compile("[a-z]{2}"), timeout=SOON)
    expect(page.locator("#captions .partial")).to_have_count(1)
    page.click("#stop")
    expect(page.locator("#player")).to_be_visible(timeout=SOON)
    expect(page.locator("#result-title")).to_contain_text("Recording")
    sent = bytes(page.evaluate("async () => [...new Uint8Array(await (await sentFiles[0]).arrayBuffer())]"))
    assert words_of(page) == " ".join(word.text for word in http_model.transcribe(sent).words) != ""


def test_live_captions_stay_when_the_microphone_is_off(open_page):
    page = open_page()
    page.click("#live")
    expect(page.locator("#session-title")).to_have_text("Live captions")
    expect(page.locator("#captions")).to_contain_text(re.compile("[a-z]{2}"), timeout=SOON)
    page.wait_for_timeout(1500)
    page.click("#stop")
    expect(page.locator("#result")).to_be_visible(timeout=SOON)
    expect(page.locator("#player")).to_be_hidden()
    assert words_of(page)
    with page.expect_download() as download:
        page.click("[data-format=vtt]")
    assert download.value.path().read_text().startswith("WEBVTT\n\n00:00:0")


def test_a_lost_connection_is_taken_up(open_page):
    page = open_page()
    page.click("#live")
    expect(page.locator("#captions")).to_contain_text(re.compile("[a-z]{2}"), timeout=SOON)
    before = page.locator("#captions p").first.inner_text()
    page.evaluate("sockets[0].close()")
    page.wait_for_timeout(2000)
    page.click("#stop")
    expect(page.locator("#result")).to_be_visible(timeout=SOON)
    expect(page.locator("#error")).to_be_hidden()
    assert page.evaluate("sockets.length") == 2
    assert words_of(page).startswith(before.split()[0])
    minutes, seconds = page.locator("#facts").inner_text().split()[0].split(":")
    heard = page.locator("#session-time").text_content()
    assert abs(60 * int(minutes) + int(seconds) - (60 * int(heard[0]) + int(heard[2:]))) <= 1


def test_mistakes_are_said_in_one_sentence(open_page):
    page = open_page()
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound at all"})
    expect(page.locator("#error")).to_contain_text("notes.txt: cannot be decoded", timeout=SOON)
    expect(page.locator("#progress")).to_be_hidden()
    page.click("summary")
    page.fill("#hot-words", "日本")
    page.set_input_files("#file", {"name": "a.wav", "mimeType": "audio/wav", "buffer": as_wav(noise(1, 1.0))})
    expect(page.locator("#error")).to_contain_text("hot word", timeout=SOON)


def test_only_the_keyboard(open_page, recording, transcript, tmp_path):
    file = tmp_path / "speech.wav"
    file.write_bytes(recording)
    page = open_page()
    page.on("filechooser", lambda chooser: chooser.set_files(file))
    page.keyboard.press("Tab")
    expect(page.locator("#choose")).to_be_focused()
    outline = page.locator("#choose").evaluate("(button) => getComputedStyle(button).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#result-title")).to_be_focused(timeout=SOON)
    stops = []
    for _ in range(14):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.format || 'word'"))
    at = stops.index("word")
    assert stops[:at] == ["copy", "txt", "srt", "vtt", "json"] and stops[at + 1 : at + 3] == ["play", "overview"]
    page.locator("#words .word").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#word-detail")).to_contain_text(f"“{transcript.words[1].text}”")
    page.locator("#overview").focus()
    page.keyboard.press("End")
    expect(page.locator("#overview")).to_have_attribute("aria-valuenow", "4.0")
    page.keyboard.press("Home")
    expect(page.locator("#overview")).to_have_attribute("aria-valuenow", re.compile(r"0\.\d"))


def test_every_control_has_a_name_and_the_headings_are_in_order(open_page, recording):
    page = open_page()
    give(page, recording)
    page.click("summary")
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "spinbutton", "slider", "img", "image", "link", "progressbar", "DisclosureTriangle"}
    shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert len(shown) > 20
    assert [node for node in shown if not node.get("name", {}).get("value")] == []
    levels = page.locator("h1, h2:visible, h3:visible").evaluate_all("all => all.map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))
    assert page.locator("[role=alert]").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling_and_colors_have_contrast(open_page, recording, scheme):
    page = open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme, reduced_motion="reduce")
    give(page, recording)
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = page.locator("main button:visible:not(.word)").evaluate_all(
        "all => all.filter((b) => b.offsetHeight < 36).length"
    )
    assert small == 0
    background, soft, ink, accent, accent_ink, card = (
        page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        for name in ("page", "soft", "ink", "accent", "accent-ink", "card")
    )
    pairs = [(soft, background), (ink, background), (ink, card), (soft, card), (accent, card), (accent_ink, accent)]
    assert all(contrast(*pair) >= 4.5 for pair in pairs)
    assert (luminance(background) < 0.2) == (scheme == "dark")


def luminance(color: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_without_https_the_page_says_why_there_is_no_microphone(chromium, server):
    page = chromium.new_page()
    page.goto(f"http://plain.example:{server.port}/")
    expect(page.locator("#microphone-note")).to_contain_text("https or localhost")
    expect(page.locator("#record")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#choose")).to_be_enabled(timeout=SOON)
    page.click("#record", force=True)
    expect(page.locator("#error")).to_contain_text("https or localhost")
    page.close()


def test_a_server_that_wants_a_key_and_no_large_uploads(chromium, model_folder, http_model, recording, transcript):
    options = ("--max-upload-mb", "0.2")
    with LiveServer(model_folder, *options, environment={"JASPER_API_KEY": "open/sesame+1"}) as server:
        page = chromium.new_page()
        page.goto(server.url)
        expect(page.locator("#choose")).to_be_enabled(timeout=SOON)
        page.fill("#key", "wrong")
        page.click("#live")
        expect(page.locator("#error")).to_contain_text("API key", timeout=SOON)
        page.set_input_files("#file", {"name": "speech.wav", "mimeType": "audio/wav", "buffer": recording})
        expect(page.locator("#error")).to_contain_text("API key", timeout=SOON)
        page.fill("#key", "open/sesame+1")
        give(page, recording)
        assert words_of(page) == transcript.text
        page.click("#live")
        expect(page.locator("#session-delay")).to_be_visible(timeout=SOON)
        page.click("#stop")
        expect(page.locator("#session")).to_be_hidden(timeout=SOON)
        expect(page.locator("#error")).to_be_hidden()
        compressed = as_wav(noise(6, 10.0), subtype="VORBIS", form="OGG")
        assert 2 * len(compressed) < 200_000 < 2 * RATE * 10
        give(page, compressed, "long.ogg")
        assert words_of(page).split() == http_model.transcribe(compressed).text.split() != []
        page.close()


def test_answers_of_the_page_forbid_foreign_scripts_and_unknown_files(server):
    answer = server.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", answer.text)
    assert server.get("/page/main.js").headers["content-type"].startswith("text/javascript")
    for path in ("/page/../page_routes.py", "/page/%2e%2e/page_routes.py", "/page/nothing.js"):
        assert server.get(path).status_code == 404


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 400), (b"text", 400), (as_wav(noise(1, 31.0), subtype="PCM_16"), 413)]
)
def test_what_cannot_be_pictured_is_refused(server, content, status):
    import httpx

    answer = httpx.post(f"{server.url}/v1/analysis", content=content, trust_env=False, timeout=60)
    assert answer.status_code == status and answer.json()["error"]["message"]
