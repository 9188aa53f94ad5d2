import { bestPath, collapse } from "./greedy.js";
import { resample } from "./resample.js";

const [LEFT_S, CHUNK_S, RIGHT_S] = [4.8, 1.6, 1.6];
const ENDPOINT_S = 0.8;
const LONGEST_OPEN_S = 30;

/**
 * One live transcription, with the methods and messages of the server's LiveStream.
 *
 * For each chunk the model reads it with what was before and behind it; its frames are final then, those behind it
 * provisional. A word is final when the next one begins, or at a pause. Where the model is slower than speech, chunks
 * get longer.
 */
export class LiveStream {
  /** on: {open(message), partial(message), final(message), done(message), error(sentence)}. */
  constructor(recognizer, sampleRate, on) {
    Object.assign(this, { recognizer, sampleRate, on });
    const { frame_s, frame_stride_samples, sample_rate, labels } = recognizer.info;
    this.frames = (seconds) => Math.round(seconds / frame_s);
    this.perFrame = (frame_stride_samples * sampleRate) / sample_rate; // samples of the microphone
    this.isSilent = (label) => !labels[label]?.trim(); // the blank has none
    this.kept = new Int16Array(0); // from the sample `first` on
    this.first = this.heard = 0;
    this.final = 0; // frames
    this.open = []; // final frames whose words are not
    this.silent = 0;
    queueMicrotask(() => on.open({ delay_s: CHUNK_S + RIGHT_S }));
  }

  /** Adds samples, Int16Array. */
  push(samples) {
    if (this.ending) return;
    const joined = new Int16Array(this.kept.length + samples.length);
    joined.set(this.kept);
    joined.set(samples, this.kept.length);
    this.kept = joined;
    this.heard += samples.length;
    this.step();
  }

  /** Ends the audio: the last words come, then `done`. */
  end() {
    this.ending = true;
    this.step();
  }

  close() {
    this.ending = this.closed = true;
  }

  async step() {
    if (this.busy || this.closed) return;
    this.busy = true;
    try {
      for (;;) {
        const heard = Math.floor(this.heard / this.perFrame);
        const ending = this.ending;
        if (!ending && heard - this.final < this.frames(CHUNK_S + RIGHT_S)) break;
        const path = await this.read();
        if (this.closed) return;
        const count = ending ? path.length : heard - this.frames(RIGHT_S) - this.final;
        this.commit(path.slice(0, count));
        if (ending) {
          this.flush(true);
          this.close();
          this.on.done({ duration_s: this.heard / this.sampleRate });
          return;
        }
        this.lookAhead(path.slice(count), heard);
      }
    } catch (error) {
      this.close();
      this.on.error(error.message);
    } finally {
      this.busy = false;
    }
  }

  /** The best path from the first frame that is not final to the end of what was heard. */
  async read() {
    const first = Math.max(0, this.final - this.frames(LEFT_S));
    const at = Math.round(first * this.perFrame);
    this.kept = this.kept.slice(at - this.first);
    this.first = at;
    const { sample_rate } = this.recognizer.info;
    const audio = await resample(Float32Array.from(this.kept, (value) => value / 32768), this.sampleRate, sample_rate);
    return bestPath(await this.recognizer.logProbs(audio)).slice(this.final - first);
  }

  commit(path) {
    for (const frame of path) {
      this.open.push(frame);
      this.final++;
      this.silent = this.isSilent(frame.label) ? this.silent + 1 : 0;
      if (this.silent === this.frames(ENDPOINT_S) || this.open.length > this.frames(LONGEST_OPEN_S)) this.flush(true);
    }
    this.flush(false);
  }

  /** Gives the words that are final: at an endpoint all, else all but the last. */
  flush(endpoint) {
    const firstFrame = this.final - this.open.length;
    const labels = collapse(this.open, this.recognizer.blank);
    const words = this.recognizer.words(labels, firstFrame);
    const pending = endpoint ? undefined : words.pop();
    if (words.length) this.on.final({ text: textOf(words), words, endpoint });
    const { frame_s } = this.recognizer.info;
    this.open = pending ? this.open.slice(Math.round(pending.start_s / frame_s) - firstFrame) : [];
  }

  lookAhead(path, heard) {
    const labels = collapse([...this.open, ...path], this.recognizer.blank);
    const words = this.recognizer.words(labels, this.final - this.open.length);
    this.on.partial({ text: textOf(words), heard_s: (heard * this.perFrame) / this.sampleRate });
  }
}

function textOf(words) {
  return words.map((word) => word.text).join(" ");
}
