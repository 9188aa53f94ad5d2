import { bestPath, collapse, decode, groupLabels } from "./greedy.js";
import { joinPieces, piecesOf } from "./long_audio.js";

/**
 * The exported model.
 *
 * info: what model.json says. status: {ready: {bytes, threads}} when it can be used, {failure} if it never can, before
 * that {progress, bytes} of its download.
 */
export class Recognizer {
  constructor(info) {
    this.info = info;
    this.blank = info.labels.length;
    this.cuts = info.labels.some((piece) => piece.startsWith(" ")); // else there are no words to join pieces by
    this.status = {};
    this.waiting = new Map();
    this.worker = new Worker(new URL("recognizer_worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = ({ message }) => this.receive({ failure: message || "its program cannot be loaded" });
  }

  receive(message) {
    const { id, error, ...rest } = message;
    if (id === undefined) this.status = message;
    else {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) resolve(rest);
      else reject(new Error(`The model failed (${error}). Reload the page; it may have run out of memory.`));
    }
  }

  /** audio: Float32Array at the model's rate -> {logProbs: Float32Array [frames, classes], frames, classes}. */
  logProbs(audio) {
    const given = new Float32Array(Math.max(audio.length, this.info.min_samples));
    given.set(audio);
    const id = (this.lastId = (this.lastId ?? 0) + 1);
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, audio: given }, [given.buffer]);
    });
  }

  /** The words of labels whose first frame is `firstFrame` of the recording. */
  words(labels, firstFrame = 0) {
    return groupLabels(labels, this.info.labels, this.info.frame_s, firstFrame);
  }

  /** Transcribes a recording of any length to {text, confidence, words}; onProgress(share). */
  async transcribe(audio, onProgress, signal) {
    const rate = this.info.sample_rate;
    const parts = this.cuts ? piecesOf(audio.length, rate) : [[0, audio.length]];
    const [found, texts, certain] = [[], [], []];
    for (const [k, [start, end]] of parts.entries()) {
      onProgress(k / parts.length);
      const labels = collapse(bestPath(await this.logProbs(audio.subarray(start, end))), this.blank);
      signal.throwIfAborted();
      found.push(this.words(labels));
      texts.push(decode(labels, this.info));
      certain.push(labels.reduce((sum, label) => sum + label.confidence, 0) / Math.max(1, labels.length));
    }
    if (parts.length === 1) return { text: texts[0], confidence: certain[0], words: found[0] };
    const words = joinPieces(parts, found, rate);
    const letters = texts.reduce((sum, text) => sum + text.length, 0);
    const weighed = texts.reduce((sum, text, k) => sum + text.length * certain[k], 0);
    return { text: words.map((word) => word.text).join(" "), confidence: weighed / Math.max(1, letters), words };
  }
}
