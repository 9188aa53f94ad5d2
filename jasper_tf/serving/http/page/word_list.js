import { clock } from "./drawing/time_axis.js";

const CERTAIN = [0.5, 0.7, 0.9];

/** 0 to 3: how certain a word is, for its shade and its underline. */
export function certainty(confidence) {
  return CERTAIN.filter((least) => confidence >= least).length;
}

/**
 * The words of a transcript as buttons: one stop of the Tab key, the arrows go from word to word.
 *
 * onChoose(word) is called for a click or Enter.
 */
export class WordList {
  constructor(element, onChoose) {
    this.element = element;
    this.words = [];
    this.playing = -1;
    element.addEventListener("click", (event) => {
      const button = event.target.closest(".word");
      if (!button) return;
      this.makeStop(Number(button.dataset.number));
      onChoose(this.words[button.dataset.number]);
    });
    element.addEventListener("keydown", (event) => this.move(event));
  }

  /** words: [{text, start_s, end_s, confidence}]. */
  show(words) {
    this.words = words;
    this.playing = -1;
    this.buttons = words.map((word, number) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "word";
      button.textContent = word.text;
      button.tabIndex = number ? -1 : 0;
      button.dataset.number = number;
      button.dataset.certainty = certainty(word.confidence);
      button.setAttribute("aria-description", describeWord(word));
      return button;
    });
    this.element.replaceChildren(...this.buttons.flatMap((button) => [button, " "]).slice(0, -1));
    this.stop = 0;
  }

  /** Marks the word that is heard at `seconds`. */
  mark(seconds) {
    let [low, high] = [0, this.words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.words[middle].start_s <= seconds) low = middle + 1;
      else high = middle;
    }
    if (low - 1 === this.playing) return;
    this.buttons?.[this.playing]?.classList.remove("playing");
    this.playing = low - 1;
    const button = this.buttons?.[this.playing];
    button?.classList.add("playing");
    button?.scrollIntoView({ block: "nearest" });
  }

  /** Marks no word. */
  unmark() {
    this.buttons?.[this.playing]?.classList.remove("playing");
    this.playing = -1;
  }

  makeStop(number) {
    this.buttons[this.stop].tabIndex = -1;
    this.buttons[number].tabIndex = 0;
    this.stop = number;
  }

  move(event) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.words.length) return;
    event.preventDefault();
    this.makeStop(Math.max(0, Math.min(this.words.length - 1, this.stop + steps[event.key])));
    this.buttons[this.stop].focus();
  }
}

/** A word's times and certainty, for people. */
export function describeWord(word) {
  const times = `${clock(word.start_s, true)} to ${clock(word.end_s, true)}`;
  return `${times}, ${Math.round(100 * word.confidence)} % certain`;
}
