import { openMicrophone } from "./microphone.js";
import { SessionView } from "./session_view.js";

const LONGEST_RECORDING_S = 1800;

/** Microphone, live stream and their card on the page, from the start to the last word. */
export class MicrophoneSession {
  /** keepsAudio: a recording, whose samples are given at the end; false: captions, as long as one likes. */
  constructor(element, server, wantedRate, keepsAudio) {
    this.server = server;
    this.wantedRate = wantedRate;
    this.keepsAudio = keepsAudio;
    this.view = new SessionView(element, () => this.stop());
    this.kept = [];
    this.finals = [];
    this.running = true;
    this.stopped = false;
  }

  /**
   * Resolves with {transcript, samples Int16Array, sampleRate, failure}; failure: why it ended early, else null.
   * Throws Error with a sentence where nothing was heard.
   */
  async run({ hot_words, hot_word_weight }, signal) {
    this.view.show(this.keepsAudio ? "Recording" : "Live captions");
    try {
      this.view.showState("Waiting for the microphone");
      this.microphone = await openMicrophone(this.wantedRate, (samples) => this.hear(samples));
      signal.throwIfAborted(); // while the browser asked
      if (this.stopped) throw new Error("Nothing was recorded.");
      const { sampleRate } = this.microphone;
      this.view.open(sampleRate);
      const done = await new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        const settings = hot_words.length ? { hot_words, hot_word_weight } : {};
        this.stream = this.server.openStream({ sampleRate, settings }, {
          open: (message) => this.view.showDelay(message.delay_s),
          partial: (message) => {
            this.view.showPartial(message.text);
            this.view.showLag(message.heard_s);
          },
          final: (message) => {
            this.finals.push(message);
            this.view.addFinal(message.text, message.endpoint);
          },
          state: (text) => this.view.showState(text),
          done: resolve,
          error: (sentence) => reject(new Error(sentence)),
        });
      });
      return this.found(done.duration_s, null);
    } catch (error) {
      if (signal.aborted || !this.finals.length) throw error;
      return this.found(this.stream.heard / this.stream.sampleRate, error.message);
    } finally {
      this.running = false;
      this.stream?.close();
      this.microphone?.stop();
      this.view.hide();
    }
  }

  hear(samples) {
    if (!this.stream) return;
    if (this.keepsAudio) this.kept.push(samples);
    this.stream.push(samples);
    this.view.push(samples);
    if (this.keepsAudio && this.stream.heard > LONGEST_RECORDING_S * this.stream.sampleRate) this.stop();
  }

  stop() {
    this.stopped = true;
    if (!this.stream) return; // the browser still asks
    this.microphone.stop();
    this.stream.end();
    this.view.ending();
  }

  found(durationS, failure) {
    const { sampleRate } = this.stream;
    return { transcript: this.transcript(durationS), samples: join(this.kept), sampleRate, failure };
  }

  transcript(durationS) {
    const segments = [];
    let words = [];
    for (const final of this.finals) {
      words.push(...final.words);
      if (final.endpoint && words.length) {
        segments.push(joinWords(words));
        words = [];
      }
    }
    const all = this.finals.flatMap((final) => final.words);
    const { text, confidence } = joinWords(all);
    return { text, confidence, duration_s: durationS, segments, words: all };
  }
}

/** A segment of words; its confidence is the mean of theirs, each weighted by its characters. */
export function joinWords(words) {
  const letters = words.reduce((sum, word) => sum + word.text.length, 0);
  const weighed = words.reduce((sum, word) => sum + word.confidence * word.text.length, 0);
  return {
    text: words.map((word) => word.text).join(" "),
    start_s: words[0]?.start_s ?? 0,
    end_s: words.at(-1)?.end_s ?? 0,
    confidence: weighed / Math.max(letters, 1),
  };
}

function join(chunks) {
  const joined = new Int16Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}
