import { color, FONT, GUTTER, openCanvas } from "./canvas.js";
import { drawHeatMap } from "./heat_map.js";
import { AXIS, drawTimeAxis } from "./time_axis.js";

const ROW = 13;
const WORD_ROW = 14;
const WORDS = 2 * WORD_ROW + 8;
const BLANK_GAP = 6;

/**
 * Draws the probability of each label over time, the words above, the blank below.
 *
 * picture: {values: Uint8Array [frames, labels], frames, labels: [text]}; the first label, the lowest row, is the blank.
 * words: [{text, start_s, end_s}] within the span. span: {startS, endS} of the picture.
 */
export function drawPosterior(canvas, picture, words, span) {
  const labels = picture.labels.length;
  const height = WORDS + labels * ROW + BLANK_GAP + AXIS;
  const { context, width } = openCanvas(canvas, height);
  const place = { x: GUTTER, y: WORDS, width: width - GUTTER, height: (labels - 1) * ROW };
  const blanks = { ...place, y: place.y + place.height + BLANK_GAP, height: ROW };
  const split = splitRows(picture.values, picture.frames, labels);
  drawHeatMap(context, split.spoken, picture.frames, labels - 1, place);
  drawRows(context, labels - 1, place);
  drawBlank(context, split.blank, blanks);
  context.font = FONT;
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillStyle = color("--soft");
  for (const [row, label] of picture.labels.entries()) {
    const y = row ? place.y + place.height - (row - 0.5) * ROW : blanks.y + ROW / 2;
    context.fillText(row ? shown(label) : "∅", GUTTER - 7, y);
  }
  drawWords(context, words, span, place);
  drawTimeAxis(context, span, { x: place.x, y: blanks.y + ROW, width: place.width });
}

function splitRows(values, frames, labels) {
  const blank = new Uint8Array(frames);
  const spoken = new Uint8Array(frames * (labels - 1));
  for (let t = 0; t < frames; t++) {
    blank[t] = values[t * labels];
    spoken.set(values.subarray(t * labels + 1, (t + 1) * labels), t * (labels - 1));
  }
  return { blank, spoken };
}

function drawRows(context, rows, place) {
  context.fillStyle = color("--line");
  for (let row = 0; row <= rows; row++) context.fillRect(place.x, place.y + row * ROW, place.width, 0.5);
}

/** The blank in gray: where nothing new is said. */
function drawBlank(context, values, { x, y, width, height }) {
  context.fillStyle = color("--soft");
  const edge = (t) => Math.round(x + (t * width) / values.length);
  for (const [t, value] of values.entries()) {
    context.globalAlpha = (0.55 * value) / 255;
    context.fillRect(edge(t), y, edge(t + 1) - edge(t), height);
  }
  context.globalAlpha = 1;
}

/** Words over their times, in a second row where the first has no room, left out where neither has. */
function drawWords(context, words, { startS, endS }, place) {
  const perS = place.width / Math.max(endS - startS, 1e-3);
  const free = [place.x, place.x];
  context.textAlign = "left";
  for (const word of words) {
    const left = place.x + Math.max(0, word.start_s - startS) * perS;
    const right = place.x + Math.min(endS - startS, word.end_s - startS) * perS;
    context.fillStyle = color("--accent");
    context.fillRect(left, WORDS - 5, Math.max(2, right - left), 2);
    const length = context.measureText(word.text).width;
    const at = Math.max(place.x, Math.min((left + right - length) / 2, place.x + place.width - length));
    const row = free.findIndex((from) => at >= from);
    if (row < 0) continue;
    context.fillStyle = color("--ink");
    context.fillText(word.text, at, (1.5 - row) * WORD_ROW);
    free[row] = at + length + 6;
  }
}

function shown(label) {
  const text = label.replaceAll(" ", "␣");
  return text.length > 5 ? `${text.slice(0, 4)}…` : text;
}
