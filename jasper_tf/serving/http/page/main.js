import { decodeAudioFile } from "./audio_file.js";
import { clock } from "./drawing/time_axis.js";
import { MicrophoneSession } from "./live/microphone_session.js";
import { whyNoMicrophone } from "./live/microphone.js";
import { ResultView } from "./result_view.js";
import { Server } from "./server.js";
import { encodeWav } from "./wav.js";

const find = (id) => document.getElementById(id);
const server = new Server();
const FORM_BYTES = 10_000; // at most, around the file
let about, result, session, task;

// ---------- what is shown

function showError(sentence) {
  find("error").textContent = sentence;
  find("error").hidden = !sentence;
}

function showProgress(text, share = null) {
  find("progress-text").textContent = text;
  if (share === null) find("progress-bar").removeAttribute("value");
  else find("progress-bar").value = share;
  find("progress").hidden = false;
}

function showResult(name, transcript, recording) {
  document.body.classList.add("has-result");
  result.show(name, transcript, recording);
}

function options() {
  if (!find("hot-words")) return { hot_words: [], n_best: 1 }; // a page without a server
  server.key = find("key").value.trim();
  const words = find("hot-words").value.split(/[\n,]/).map((word) => word.trim().replace(/\s+/g, " "));
  return {
    hot_words: words.filter(Boolean),
    hot_word_weight: Number(find("hot-word-weight").value),
    n_best: Number(find("n-best").value),
  };
}

// ---------- a file or a recording

/** Runs `work(signal)`, one at a time, with its progress and its error on the page. */
async function run(work) {
  task?.abort();
  const own = (task = new AbortController());
  showError("");
  try {
    await work(own.signal);
  } catch (error) {
    if (!own.signal.aborted) showError(error.message);
  } finally {
    if (task === own) find("progress").hidden = true;
  }
}

function transcribeFile(file) {
  return run(async (signal) => {
    result.hide();
    const given = options();
    showProgress(`Reading ${file.name}`);
    let samples = null;
    try {
      samples = await decodeAudioFile(file, about.sample_rate);
    } catch {
      // The server may know the format; without samples there are no pictures.
    }
    signal.throwIfAborted();
    const sampleRate = about.sample_rate;
    const recording = { blob: smaller(samples && encodeWav(samples, sampleRate), file), samples, sampleRate };
    await transcribe(file.name, recording, given, signal);
  });
}

/** The WAV file, unless there is none, or the server takes none so large and the file is smaller: hours of MP3. */
function smaller(wav, file) {
  const isTooLarge = wav && wav.size + FORM_BYTES > about.max_upload_bytes;
  return wav && !(isTooLarge && file.size < wav.size) ? wav : file;
}

async function transcribe(name, recording, given, signal) {
  const length = recording.samples ? ` ${clock(recording.samples.length / recording.sampleRate)} of audio` : "";
  const onProgress = (share, stage) => showProgress(`${stage}${length}`, share);
  onProgress(0, "Sending");
  const sentAs = recording.blob instanceof File ? name : `${name}.wav`;
  const transcript = await server.transcribe(recording, sentAs, given, onProgress, signal);
  showResult(name, transcript, recording);
}

// ---------- the microphone

function startSession(keepsAudio) {
  const refusal = whyNoMicrophone();
  if (refusal) return showError(refusal);
  return run(async (signal) => {
    result.hide();
    const given = options();
    session = new MicrophoneSession(find("session"), server, about.sample_rate, keepsAudio);
    const found = await session.run(given, signal);
    const now = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    if (!keepsAudio || found.failure) showResult(`${keepsAudio ? "Recording" : "Live captions"} ${now}`, found.transcript, null);
    else if (found.samples.length && !found.failure) {
      const { samples, sampleRate } = found;
      const recording = { blob: encodeWav(samples, sampleRate), samples: toFloat(samples), sampleRate };
      await transcribe(`Recording ${now}`, recording, given, signal);
    }
    if (found.failure) throw new Error(found.failure);
  });
}

function toFloat(samples) {
  return Float32Array.from(samples, (value) => value / 32768);
}

// ---------- start

function listen() {
  result = new ResultView(find("result"), about.picture_s, (...given) => server.analyze(...given));
  for (const id of ["choose", "record", "live"]) find(id).disabled = false;
  find("choose").addEventListener("click", () => find("file").click());
  find("file").addEventListener("change", ({ target }) => {
    if (target.files.length) transcribeFile(target.files[0]);
    target.value = "";
  });
  find("record").addEventListener("click", () => startSession(true));
  find("live").addEventListener("click", () => startSession(false));
  find("cancel").addEventListener("click", () => task?.abort());

  let depth = 0; // dragenter and dragleave come for each element below the pointer
  const drop = (change) => (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    depth = change ? depth + change : 0;
    document.body.classList.toggle("dropping", depth > 0 && !session?.running);
  };
  document.addEventListener("dragenter", drop(1));
  document.addEventListener("dragleave", drop(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    drop(0)(event);
    const [file] = event.dataTransfer.files;
    if (file && !session?.running) transcribeFile(file);
  });
}

function refuseMicrophone() {
  const refusal = whyNoMicrophone();
  if (!refusal) return;
  find("microphone-note").textContent = refusal;
  find("microphone-note").hidden = false;
  for (const id of ["record", "live"]) {
    find(id).setAttribute("aria-disabled", "true");
    find(id).setAttribute("aria-describedby", "microphone-note");
  }
}

/** Follows the state of the server; the buttons work from when its model is loaded. */
async function watchServer() {
  const state = find("server-state");
  for (;;) {
    try {
      about = await server.about();
      state.textContent = about.ready ? "Ready" : (about.state ?? "Loading the model");
      state.className = about.ready ? "state ready" : "state";
      find("model").textContent = about.model;
      if (find("key-box")) find("key-box").hidden = !about.needs_key;
      if (about.ready && !result) listen();
      if (about.failure) {
        state.className = "state failed";
        state.textContent = "Failed";
        return showError(about.failure);
      }
    } catch {
      state.textContent = "No answer";
      state.className = "state failed";
    }
    await new Promise((resolve) => setTimeout(resolve, about?.ready ? 30_000 : 500));
  }
}

find("why-not-started")?.remove();
refuseMicrophone();
watchServer();
