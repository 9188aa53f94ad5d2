// Takes the place of the live server's page/server.js: the same methods, answered in the browser.

import { joinWords } from "./live/microphone_session.js";
import { LiveStream } from "./live_stream.js";
import { Recognizer } from "./recognizer.js";
import { resample } from "./resample.js";
import { groupWords } from "./subtitles.js";

const PICTURE_S = 20;
const [MOST_LABELS, LEAST_PROBABILITY] = [48, 0.1];
const [PAUSE_S, LONGEST_SEGMENT_S] = [0.8, 15];

export class Server {
  constructor() {
    this.start();
  }

  async start() {
    try {
      const response = await fetch("model.json", { cache: "no-cache" });
      if (!response.ok) throw new Error(`model.json: the web server answered with status ${response.status}`);
      this.recognizer = new Recognizer(await response.json());
    } catch (error) {
      this.failure = error.message;
    }
  }

  async about() {
    const { ready, failure = this.failure, progress, bytes } = this.recognizer?.status ?? {};
    const share = progress ? `, ${Math.round(100 * progress)} %` : bytes ? `, ${megabytes(bytes)}` : "";
    const threads = ready?.threads > 1 ? `, ${ready.threads} threads` : "";
    return {
      ready: Boolean(ready),
      state: `Loading the model${share}`,
      failure: failure && `The model cannot be loaded (${failure}). Look whether all files of the export are there.`,
      model: ready ? `${megabytes(ready.bytes)} model${threads}` : "",
      sample_rate: this.recognizer?.info.sample_rate,
      picture_s: PICTURE_S,
    };
  }

  async transcribe(recording, name, options, onProgress, signal) {
    if (!recording.samples) throw new Error(`${name}: this browser cannot decode it; convert it to WAV, FLAC or MP3.`);
    onProgress(0, "Recognizing");
    const { sample_rate } = this.recognizer.info;
    const audio = await resample(recording.samples, recording.sampleRate, sample_rate);
    const { text, confidence, words } = await this.recognizer.transcribe(
      audio,
      (share) => onProgress(share, "Recognizing"),
      signal,
    );
    return {
      text,
      confidence: round(confidence),
      duration_s: round(audio.length / sample_rate),
      segments: segmentsOf(words).map(roundAll),
      words: words.map(roundAll),
    };
  }

  /** The numbers of the pictures; the spectrogram stays inside the exported model. */
  async analyze(samples, sampleRate) {
    const { labels, frame_s, sample_rate } = this.recognizer.info;
    const audio = await resample(samples, sampleRate, sample_rate);
    const { logProbs, frames, classes } = await this.recognizer.logProbs(audio);
    const highest = new Float32Array(classes - 1).fill(-Infinity);
    for (let t = 0; t < frames; t++) {
      for (let i = 0; i < classes - 1; i++) highest[i] = Math.max(highest[i], logProbs[t * classes + i]);
    }
    const likely = [...highest.keys()].sort((a, b) => highest[b] - highest[a]).slice(0, MOST_LABELS);
    const shown = likely.filter((i) => Math.exp(highest[i]) >= LEAST_PROBABILITY).sort((a, b) => b - a);
    const rows = [classes - 1, ...shown]; // the blank first, the lowest row
    const values = new Uint8Array(frames * rows.length);
    for (let t = 0; t < frames; t++) {
      for (const [row, i] of rows.entries()) {
        values[t * rows.length + row] = Math.round(255 * Math.exp(logProbs[t * classes + i]));
      }
    }
    const posterior = { values, frames, labels: ["", ...shown.map((i) => labels[i])], frame_s };
    return { spectrogram: null, posterior };
  }

  openStream({ sampleRate }, on) {
    return new LiveStream(this.recognizer, sampleRate, on);
  }
}

/** Words cut at pauses and at a largest length; segments follow each other without overlap. */
function segmentsOf(words) {
  const fits = (i, j) => words[j - 1].end_s - words[i].start_s <= LONGEST_SEGMENT_S;
  let earliest = 0;
  return groupWords(words, PAUSE_S, fits, 0).map((group) => {
    const segment = joinWords(group);
    const start_s = Math.max(segment.start_s, earliest);
    earliest = Math.max(start_s, segment.end_s);
    return { ...segment, start_s, end_s: earliest };
  });
}

function roundAll({ text, start_s, end_s, confidence }) {
  return { text, start_s: round(start_s), end_s: round(end_s), confidence: round(confidence) };
}

function round(value) {
  return Number(value.toFixed(4));
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
