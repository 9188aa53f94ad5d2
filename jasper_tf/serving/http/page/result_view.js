import { clock } from "./drawing/time_axis.js";
import { download, formatTranscript } from "./download.js";
import { Pictures } from "./pictures.js";
import { Player } from "./player.js";
import { describeWord, WordList } from "./word_list.js";

/** The card of a result: words, player, pictures, alternatives, files to save. */
export class ResultView {
  /** analyze(samples, sampleRate, signal): the numbers of the pictures; longestS: how much of them at a time. */
  constructor(element, longestS, analyze) {
    this.element = element;
    const find = (id) => element.querySelector(`#${id}`);
    this.title = find("result-title");
    this.facts = find("facts");
    this.detail = find("word-detail");
    this.legend = find("legend");
    this.alternatives = find("alternatives");
    this.list = find("n-best-list");
    this.words = new WordList(find("words"), (word) => this.choose(word));
    this.player = new Player(find("player"), (seconds, playing) => this.follow(seconds, playing));
    this.pictures = new Pictures(find("pictures"), longestS, (startS, endS, signal) => {
      const { samples, sampleRate } = this.recording;
      return analyze(samples.subarray(Math.round(startS * sampleRate), Math.round(endS * sampleRate)), sampleRate, signal);
    });
    this.pictures.onWindow = (startS, endS) => this.showWindow(startS, endS);
    for (const button of element.querySelectorAll("[data-format]")) {
      button.setAttribute("aria-label", `Save as ${button.textContent}`);
      button.addEventListener("click", () => download(this.transcript, button.dataset.format, this.fileName));
    }
    const copy = find("copy");
    copy.setAttribute("aria-label", "Copy the text");
    copy.hidden = !navigator.clipboard;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(formatTranscript(this.transcript, "txt"));
      this.detail.textContent = "Copied.";
    });
    const redraw = () => this.redraw();
    new ResizeObserver(redraw).observe(element);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  /**
   * transcript: {text, words, segments, confidence, duration_s, n_best}.
   * recording: {blob, samples, sampleRate}, samples null where the browser cannot decode it; null for captions.
   */
  show(name, transcript, recording) {
    this.transcript = transcript;
    this.recording = recording;
    this.fileName = name.replace(/\.[^.]{1,5}$/, "").replace(/[^\p{L}\p{N} ._-]/gu, "-") || "transcript";
    this.title.textContent = name;
    const count = transcript.words.length;
    const facts = [clock(transcript.duration_s), `${count} ${count === 1 ? "word" : "words"}`];
    if (count) facts.push(`${Math.round(100 * transcript.confidence)} % certain`);
    this.facts.textContent = facts.join(" · ");
    this.words.show(transcript.words);
    this.legend.hidden = !count;
    this.detail.textContent = count && recording?.samples ? "Choose a word to hear it." : "";
    this.showAlternatives(transcript.n_best ?? []);
    this.element.hidden = false;
    if (recording?.samples) {
      this.player.show(recording.blob, recording.samples, transcript.duration_s);
      this.pictures.show(transcript.words, transcript.duration_s);
    } else {
      this.player.hide();
      this.pictures.hide();
    }
    this.title.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  hide() {
    this.player.hide();
    this.pictures.hide();
    this.element.hidden = true;
  }

  showAlternatives(texts) {
    this.alternatives.hidden = texts.length < 2;
    this.list.replaceChildren(
      ...texts.map(({ text, score }) => {
        const item = document.createElement("li");
        const shown = document.createElement("small");
        shown.textContent = `score ${score.toFixed(2)}`;
        item.append(text || "(no words)", shown);
        return item;
      }),
    );
  }

  choose(word) {
    this.detail.textContent = `“${word.text}”: ${describeWord(word)}`;
    if (this.recording?.samples) this.player.play(word.start_s);
  }

  follow(seconds, playing) {
    if (playing || seconds > 0) this.words.mark(seconds);
    else this.words.unmark();
    this.pictures.mark(seconds, playing);
  }

  showWindow(startS, endS) {
    const frame = this.element.querySelector("#overview .window");
    const durationS = this.player.durationS;
    frame.hidden = endS - startS >= durationS;
    frame.style.left = `${(100 * startS) / durationS}%`;
    frame.style.width = `${(100 * (endS - startS)) / durationS}%`;
  }

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (this.element.hidden) return;
      this.player.draw();
      this.pictures.draw();
    });
  }
}
