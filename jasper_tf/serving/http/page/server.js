// All that the page asks of the server. Errors are Error objects with the server's own sentence.
// A page written by export.py has another file of this name, with the same methods and no server.

import { LiveStream } from "./live/live_stream.js";
import { encodeWav } from "./wav.js";

const NO_ANSWER = "The server does not answer; look whether it still runs, and try again.";

export class Server {
  /** key: sent with each request; empty if the server wants none. */
  constructor() {
    this.key = "";
  }

  /** {ready, model, sample_rate, needs_key, picture_s}; ready: the model is loaded and warm. */
  async about() {
    return (await this.fetch("page/about.json")).json();
  }

  /**
   * Transcribes a recording {blob, samples, sampleRate} to {text, words, segments, confidence, duration_s, n_best}.
   *
   * options: {hot_words: [text], hot_word_weight, n_best}. onProgress(share, stage): 0 to 1, of "Sending" and
   * "Recognizing"; share null where it is not known.
   */
  transcribe(recording, name, options, onProgress, signal) {
    const form = new FormData();
    form.append("file", recording.blob, name);
    form.append("response_format", "verbose_json");
    form.append("stream", "true");
    for (const part of ["word", "segment"]) form.append("timestamp_granularities[]", part);
    if (options.hot_words.length) {
      form.append("hot_words", JSON.stringify(options.hot_words));
      form.append("hot_word_weight", options.hot_word_weight);
    }
    if (options.n_best > 1) form.append("n_best", options.n_best);
    return new Promise((resolve, reject) => {
      // XMLHttpRequest: fetch says nothing of how much is sent.
      const request = new XMLHttpRequest();
      request.open("POST", "v1/audio/transcriptions");
      for (const [header, value] of Object.entries(this.headers())) request.setRequestHeader(header, value);
      request.upload.onprogress = ({ loaded, total }) => onProgress(loaded / total, "Sending");
      request.upload.onload = () => onProgress(null, "Recognizing");
      request.onerror = () => reject(new Error(NO_ANSWER));
      request.onabort = () => reject(new DOMException("Canceled", "AbortError"));
      let seen = 0;
      request.onprogress = () => {
        const events = request.responseText.slice(seen).split("\n\n");
        seen = request.responseText.length - events.pop().length;
        for (const { type, progress } of events.map(readEvent)) {
          if (type === "transcript.progress") onProgress(progress, "Recognizing");
        }
      };
      request.onload = () => {
        const last = request.responseText.split("\n\n").map(readEvent);
        const done = last.find(({ type }) => type === "transcript.text.done");
        if (done) resolve(readTranscript(done));
        else {
          const failed = last.find(({ error }) => error);
          reject(new Error(failed?.error.message ?? sentence(request.status, request.responseText)));
        }
      };
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    });
  }

  /** The numbers of the pictures of samples Float32Array: {spectrogram, posterior}, as the drawing modules take them. */
  async analyze(samples, sampleRate, signal) {
    const wav = encodeWav(samples, sampleRate);
    const answer = await this.fetch("v1/analysis", { method: "POST", body: wav, signal });
    const { spectrogram, posterior } = await answer.json();
    return {
      spectrogram: spectrogram && { ...spectrogram, values: bytes(spectrogram.values), bandHz: spectrogram.band_hz },
      posterior: posterior && { ...posterior, values: bytes(posterior.values) },
    };
  }

  openStream(options, on) {
    const url = new URL("v1/stream", document.baseURI.replace(/^http/, "ws"));
    return new LiveStream(url, { ...options, key: this.key }, on);
  }

  headers() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  async fetch(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, { ...options, headers: this.headers() });
    } catch (error) {
      throw error.name === "AbortError" ? error : new Error(NO_ANSWER);
    }
    if (!answer.ok) throw new Error(sentence(answer.status, await answer.text()));
    return answer;
  }
}

/** A server-sent event as values; {} for what is none. */
function readEvent(text) {
  try {
    return JSON.parse(text.replace(/^data: /, ""));
  } catch {
    return {};
  }
}

function sentence(status, text) {
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered with status ${status}; its log may say why.`;
  }
}

function readTranscript(answer) {
  const times = ({ text, word, start, end, confidence }) => ({ text: text ?? word, start_s: start, end_s: end, confidence });
  return {
    text: answer.text,
    confidence: answer.confidence,
    duration_s: answer.duration,
    segments: (answer.segments ?? []).map(times),
    words: (answer.words ?? []).map(times),
    ...(answer.n_best ? { n_best: answer.n_best } : {}),
  };
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
