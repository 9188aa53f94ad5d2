import { GUTTER } from "./drawing/canvas.js";
import { drawPosterior } from "./drawing/posterior.js";
import { drawSpectrogram } from "./drawing/spectrogram.js";
import { clock } from "./drawing/time_axis.js";

const KEPT = 12;
const PX_PER_S = 45;
const LEAST_S = 4;

/**
 * Spectrogram and posteriors of a recording, of a long one a part at a time.
 *
 * analyze(startS, endS, signal) gives the numbers of a part: {spectrogram, posterior}, each null or as its drawing
 * takes it.
 */
export class Pictures {
  constructor(element, longestS, analyze) {
    this.longestS = longestS;
    this.analyze = analyze;
    this.element = element;
    const find = (id) => element.querySelector(`#${id}`);
    this.state = find("pictures-state");
    this.stack = find("stack");
    this.spectrogram = find("spectrogram");
    this.posterior = find("posterior");
    this.pager = find("pager");
    this.windowTime = find("window-time");
    find("earlier").addEventListener("click", () => this.goTo(this.startS - this.partS));
    find("later").addEventListener("click", () => this.goTo(this.endS));
    this.onWindow = () => {};
  }

  /** Shows the first part of a recording of `durationS` with these words. */
  show(words, durationS) {
    this.words = words;
    this.durationS = durationS;
    this.kept = new Map();
    this.found = null;
    this.startS = this.endS = 0;
    this.element.hidden = false;
    this.partS = Math.max(LEAST_S, Math.min(this.longestS, Math.floor(this.stack.clientWidth / PX_PER_S)));
    this.pager.hidden = durationS <= this.partS;
    this.goTo(0);
    this.mark(0, false);
  }

  hide() {
    this.abort?.abort();
    this.element.hidden = true;
    this.durationS = 0;
  }

  /** Shows the part that holds `seconds`. */
  async goTo(seconds) {
    if (!this.durationS || (seconds >= this.startS && seconds < this.endS)) return;
    const last = Math.max(0, Math.ceil(this.durationS / this.partS) - 1);
    const part = Math.max(0, Math.min(last, Math.floor(seconds / this.partS + 1e-6)));
    if (part * this.partS === this.startS && this.endS) return;
    this.startS = part * this.partS;
    this.endS = Math.min(this.startS + this.partS, this.durationS);
    this.onWindow(this.startS, this.endS);
    this.windowTime.textContent = `${clock(this.startS)} to ${clock(this.endS)}`;
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.state.textContent = this.kept.has(part) ? "" : "Computing";
    try {
      if (!this.kept.has(part)) {
        this.kept.set(part, await this.analyze(this.startS, this.endS, signal));
        if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
      }
      if (signal.aborted) return;
      this.state.textContent = "";
      this.found = this.kept.get(part);
      this.draw();
    } catch (error) {
      if (!signal.aborted) this.state.textContent = error.message;
    }
  }

  draw() {
    if (!this.durationS || !this.found) return;
    const { spectrogram, posterior } = this.found;
    const span = { startS: this.startS, endS: this.endS };
    const words = this.words.filter((word) => word.end_s > span.startS && word.start_s < span.endS);
    const when = `from ${clock(span.startS, true)} to ${clock(span.endS, true)}`;
    this.spectrogram.closest("figure").hidden = !spectrogram;
    this.posterior.closest("figure").hidden = !posterior;
    if (spectrogram) {
      drawSpectrogram(this.spectrogram, spectrogram, span);
      this.spectrogram.setAttribute("aria-label", `Log-mel spectrogram ${when}`);
    }
    if (posterior) {
      drawPosterior(this.posterior, posterior, words, span);
      const spoken = words.map((word) => word.text).join(" ") || "none";
      this.posterior.setAttribute("aria-label", `Probabilities of ${posterior.labels.length} labels ${when}; words: ${spoken}`);
    }
  }

  /** Moves the line of the position, and to the part that holds it while it plays. */
  mark(seconds, playing) {
    if (!this.durationS) return;
    if (playing) this.goTo(seconds);
    const share = (seconds - this.startS) / Math.max(this.endS - this.startS, 1e-3);
    const line = this.stack.querySelector(".playhead");
    line.hidden = share < 0 || share > 1;
    line.style.left = `calc(${GUTTER}px + (100% - ${GUTTER}px) * ${share} - 1px)`;
  }
}
