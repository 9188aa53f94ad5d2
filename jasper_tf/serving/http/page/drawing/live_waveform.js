import { drawWaveform } from "./waveform.js";

const COLUMNS = 300;
const COLUMN_S = 0.05;
const HEIGHT = 56;
const LOUDEST = 0.25;

/** The last 15 seconds of a microphone as a moving waveform. */
export class LiveWaveform {
  constructor(canvas, sampleRate) {
    this.canvas = canvas;
    this.perColumn = Math.round(COLUMN_S * sampleRate);
    this.peaks = new Float32Array(2 * COLUMNS);
    this.peak = [0, 0];
    this.count = 0;
    this.waiting = false;
  }

  /** Adds samples, Int16Array. */
  push(samples) {
    for (const sample of samples) {
      const value = sample / 32768;
      if (value < this.peak[0]) this.peak[0] = value;
      else if (value > this.peak[1]) this.peak[1] = value;
      if (++this.count === this.perColumn) {
        this.peaks.copyWithin(0, 2);
        this.peaks.set(this.peak, this.peaks.length - 2);
        this.peak = [0, 0];
        this.count = 0;
      }
    }
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const loudest = this.peaks.reduce((most, value) => Math.max(most, Math.abs(value)), LOUDEST);
      drawWaveform(this.canvas, this.peaks, HEIGHT, loudest);
    });
  }
}
