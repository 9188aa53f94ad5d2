import { clock } from "./drawing/time_axis.js";
import { LiveWaveform } from "./drawing/live_waveform.js";

const KEPT_LINES = 200;

/** The card of a running microphone: level, time, delay, captions, Stop. */
export class SessionView {
  constructor(element, onStop) {
    this.element = element;
    const find = (id) => element.querySelector(`#${id}`);
    this.title = find("session-title");
    this.time = find("session-time");
    this.delay = find("session-delay");
    this.level = find("level");
    this.state = find("session-state");
    this.captions = find("captions");
    this.partial = find("partial");
    this.stop = find("stop");
    this.stop.addEventListener("click", onStop);
  }

  show(title) {
    this.title.textContent = title;
    this.captions.replaceChildren();
    this.line = null;
    for (const one of [this.partial, this.state]) one.textContent = "";
    this.delay.hidden = true;
    this.stop.disabled = false;
    this.element.hidden = false;
    document.body.classList.add("has-session");
    this.stop.focus();
  }

  hide() {
    this.element.hidden = true;
    document.body.classList.remove("has-session");
  }

  /** Begins to draw samples of this rate. */
  open(sampleRate) {
    this.waveform = new LiveWaveform(this.level, sampleRate);
    this.sampleRate = sampleRate;
    this.heard = 0;
  }

  push(samples) {
    this.heard += samples.length;
    this.waveform.push(samples);
    this.time.textContent = clock(this.heard / this.sampleRate);
  }

  showDelay(seconds) {
    this.delay.textContent = `Words come ${seconds.toFixed(1)} s after they are said`;
    this.delay.hidden = false;
  }

  showState(text) {
    this.state.textContent = text;
  }

  showPartial(text) {
    this.partial.textContent = text;
    this.scroll();
  }

  /** Adds words that never change; endsLine: the speaker paused behind them. */
  addFinal(text, endsLine) {
    this.partial.textContent = "";
    if (text) {
      if (!this.line) {
        this.line = document.createElement("p");
        this.captions.append(this.line);
        while (this.captions.children.length > KEPT_LINES) this.captions.firstChild.remove();
      }
      this.line.append(`${text} `);
    }
    if (endsLine) this.line = null;
    this.scroll();
  }

  ending() {
    this.stop.disabled = true;
    this.showState("Waiting for the last words");
  }

  scroll() {
    const box = this.captions.parentElement;
    box.scrollTop = box.scrollHeight;
  }
}
