import { clock } from "../drawing/time_axis.js";
import { LiveWaveform } from "../drawing/live_waveform.js";

const KEPT_LINES = 200;
const LATE_S = 2;

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
    this.partial = document.createElement("span");
    this.partial.className = "partial";
    this.partial.setAttribute("aria-hidden", "true");
    this.stop = find("stop");
    this.stop.onclick = onStop; // in place of the last session's
  }

  show(title) {
    this.title.textContent = title;
    this.captions.replaceChildren();
    this.line = null;
    this.state.textContent = "";
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
    this.delayS = seconds;
    this.delay.textContent = `Words are final ${seconds.toFixed(1)} s after they are said`;
    this.delay.hidden = false;
  }

  showState(text) {
    this.state.textContent = text;
  }

  /** Says how far the recognition is behind the microphone, when that is more than it should be. */
  showLag(heardS) {
    const behindS = this.heard / this.sampleRate - heardS;
    const late = behindS > this.delayS + LATE_S;
    this.showState(late ? `Recognition is ${Math.round(behindS)} s behind; the model may be too slow here.` : "");
  }

  /** Shows words that may change, in place of those before. A screen reader waits for the final ones. */
  showPartial(text) {
    this.partial.textContent = text;
    if (text) this.openLine().append(this.partial);
    this.scroll();
  }

  /** Adds words that never change; endsLine: the speaker paused behind them. */
  addFinal(text, endsLine) {
    this.partial.remove();
    if (text) this.openLine().append(`${text} `);
    if (endsLine) this.line = null;
    this.scroll();
  }

  openLine() {
    if (!this.line) {
      this.line = document.createElement("p");
      this.captions.append(this.line);
      while (this.captions.children.length > KEPT_LINES) this.captions.firstChild.remove();
    }
    return this.line;
  }

  ending() {
    this.stop.disabled = true;
    this.showState("Waiting for the last words");
  }

  scroll() {
    this.captions.scrollTop = this.captions.scrollHeight;
  }
}
