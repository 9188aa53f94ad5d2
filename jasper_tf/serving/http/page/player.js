import { peaksOf, drawWaveform } from "./drawing/waveform.js";
import { clock } from "./drawing/time_axis.js";

const HEIGHT = 72;
const KEY_S = 2;

/** Plays a recording; its waveform is the slider of the position. onTime(seconds, playing) follows the position. */
export class Player {
  constructor(element, onTime) {
    this.element = element;
    this.onTime = onTime;
    this.audio = element.querySelector("audio");
    this.slider = element.querySelector("[role=slider]");
    this.button = element.querySelector("button");
    this.durationS = 0;
    this.button.addEventListener("click", () => (this.audio.paused ? this.play() : this.audio.pause()));
    for (const event of ["play", "pause", "ended"]) this.audio.addEventListener(event, () => this.showState());
    this.audio.addEventListener("timeupdate", () => this.showTime());
    this.audio.addEventListener("seeked", () => this.showTime());
    this.slider.addEventListener("pointerdown", (event) => {
      this.slider.setPointerCapture(event.pointerId);
      this.seekTo(event);
    });
    this.slider.addEventListener("pointermove", (event) => event.buttons && this.seekTo(event));
    this.slider.addEventListener("keydown", (event) => this.key(event));
  }

  /** blob: what is played; samples [S]: what is drawn. */
  show(blob, samples, durationS) {
    this.hide();
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
    this.samples = samples;
    this.durationS = durationS;
    this.slider.setAttribute("aria-valuemax", durationS.toFixed(1));
    this.element.hidden = false;
    this.draw();
    this.showState();
    this.showTime();
  }

  /** Ends playing and lets the recording go. */
  hide() {
    this.audio.pause();
    this.audio.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = this.samples = null;
    this.element.hidden = true;
  }

  draw() {
    if (!this.samples || this.element.hidden) return;
    const canvas = this.slider.querySelector("canvas");
    drawWaveform(canvas, peaksOf(this.samples, Math.max(60, Math.floor(this.slider.clientWidth / 3))), HEIGHT);
  }

  play(fromS) {
    if (fromS !== undefined) this.audio.currentTime = fromS;
    this.audio.play().catch(() => {}); // a click elsewhere interrupted it
  }

  seekTo({ clientX }) {
    const { left, width } = this.slider.getBoundingClientRect();
    this.audio.currentTime = Math.max(0, Math.min(1, (clientX - left) / width)) * this.durationS;
    this.showTime();
  }

  key(event) {
    const now = this.audio.currentTime;
    const to = { ArrowRight: now + KEY_S, ArrowLeft: now - KEY_S, ArrowUp: now + KEY_S, ArrowDown: now - KEY_S };
    Object.assign(to, { Home: 0, End: this.durationS, PageUp: now + 20, PageDown: now - 20 });
    if (event.key === " ") this.button.click();
    else if (event.key in to) this.audio.currentTime = Math.max(0, Math.min(this.durationS, to[event.key]));
    else return;
    event.preventDefault();
  }

  showState() {
    const playing = !this.audio.paused;
    this.element.classList.toggle("is-playing", playing);
    this.button.setAttribute("aria-label", playing ? "Pause" : "Play");
    cancelAnimationFrame(this.frame);
    const follow = () => {
      this.showTime();
      if (!this.audio.paused) this.frame = requestAnimationFrame(follow);
    };
    follow();
  }

  showTime() {
    if (!this.url) return;
    const now = this.audio.currentTime;
    const share = this.durationS ? Math.min(1, now / this.durationS) : 0;
    this.slider.querySelector(".playhead").style.left = `calc(${100 * share}% - 1px)`;
    this.slider.setAttribute("aria-valuenow", now.toFixed(1));
    this.slider.setAttribute("aria-valuetext", `${clock(now)} of ${clock(this.durationS)}`);
    this.element.querySelector(".time").textContent = `${clock(now, true)} / ${clock(this.durationS)}`;
    this.onTime(now, !this.audio.paused);
  }
}
