// Subtitles of words, the same as the server's `format_transcript`: for captions whose audio nobody kept.

const LINE_CHARACTERS = 42;
const PAUSE_S = 0.8;
const [SHORTEST_S, LONGEST_S, HOLD_S] = [1, 7, 1];

/** words: [{text, start_s, end_s}] -> the content of a SubRip file. */
export function asSrt(words) {
  const parts = makeCues(words).map(
    (cue, i) => `${i + 1}\n${time(cue.startS, ",")} --> ${time(cue.endS, ",")}\n${body(cue, (line) => line)}\n\n`,
  );
  return parts.join("");
}

/** words: [{text, start_s, end_s}] -> the content of a WebVTT file. */
export function asVtt(words) {
  const escape = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const parts = makeCues(words).map(
    (cue) => `${time(cue.startS, ".")} --> ${time(cue.endS, ".")}\n${body(cue, escape)}\n\n`,
  );
  return ["WEBVTT\n\n", ...parts].join("");
}

/** Divides words into subtitles {lines, startS, endS} of two lines, 1 to 7 seconds, ended by pauses. */
function makeCues(words) {
  const parts = words.flatMap(breakWord);
  const fits = (i, j) => parts[j - 1].end_s - parts[i].start_s <= LONGEST_S && linesOf(parts.slice(i, j)).length <= 2;
  const groups = groupWords(parts, PAUSE_S, fits, SHORTEST_S);
  let earliest = 0;
  const starts = groups.map((group) => {
    const start = Math.max(earliest, group[0].start_s);
    earliest = start + SHORTEST_S;
    return start;
  });
  return groups.map((group, i) => {
    const end = Math.max(group.at(-1).end_s + HOLD_S, starts[i] + SHORTEST_S);
    const endS = Math.min(end, starts[i + 1] ?? Infinity, starts[i] + LONGEST_S);
    return { lines: linesOf(group), startS: starts[i], endS };
  });
}

/** A word in parts that fit into a subtitle, its time divided by their lengths; most words are one part. */
function breakWord({ text, start_s, end_s }) {
  const clean = text.replace(/\p{Cc}/gu, " ");
  const most = 2 * LINE_CHARACTERS;
  const perCharacter = (end_s - start_s) / Math.max(clean.length, 1);
  const parts = [];
  for (let at = 0; at < Math.max(clean.length, 1); at += most) {
    const part = clean.slice(at, at + most);
    const end = clean.length <= most ? end_s : start_s + (at + part.length) * perCharacter;
    parts.push({ text: part, start_s: start_s + at * perCharacter, end_s: end });
  }
  return parts;
}

/**
 * Cuts words into groups at pauses, and where they do not fit at their longest gaps: the server's `group_words`.
 *
 * fits(i, j): whether words[i:j] may be one group. shortestS: a group does not end at a pause before this time.
 */
export function groupWords(words, pauseS, fits, shortestS) {
  const gap = (k) => words[k].start_s - words[k - 1].end_s;
  const ends = [];
  let first = 0;
  for (let k = 1; k <= words.length; k++) {
    if (k < words.length && !(gap(k) >= pauseS && words[k].start_s - words[first].start_s >= shortestS)) continue;
    for (;;) {
      let most = first + 1;
      while (most < k && fits(first, most + 1)) most++;
      if (most >= k) break;
      // At least half of the words that fit, cut at the longest gap.
      let best = most;
      for (let j = most - 1; j > Math.floor((first + most) / 2); j--) if (gap(j) > gap(best)) best = j;
      ends.push((first = best));
    }
    ends.push(k);
    first = k;
  }
  return ends.map((end, i) => words.slice(ends[i - 1] ?? 0, end));
}

function linesOf(words) {
  const text = words.map((word) => word.text).join(" ");
  if (text.length <= LINE_CHARACTERS) return [text];
  let middle = 0;
  for (let at = 0; at < text.length; at++) {
    const nearer = Math.abs(2 * at - text.length) < Math.abs(2 * middle - text.length);
    if (text[at] === " " && (!middle || nearer)) middle = at;
  }
  if (middle > 0 && middle <= LINE_CHARACTERS && text.length - middle - 1 <= LINE_CHARACTERS) {
    return [text.slice(0, middle), text.slice(middle + 1)];
  }
  return wrap(text);
}

function wrap(text) {
  const lines = [];
  let line = "";
  for (let word of text.split(" ")) {
    if (line && line.length + 1 + word.length > LINE_CHARACTERS && word.length <= LINE_CHARACTERS) {
      lines.push(line);
      line = "";
    }
    line = line ? `${line} ${word}` : word;
    while (line.length > LINE_CHARACTERS) {
      lines.push(line.slice(0, LINE_CHARACTERS).trimEnd());
      line = line.slice(LINE_CHARACTERS);
    }
  }
  return line ? [...lines, line] : lines;
}

function body(cue, escape) {
  return cue.lines.map((line) => escape(line.replaceAll("-->", "->"))).join("\n");
}

function time(seconds, point) {
  const ms = Math.round(1000 * seconds);
  const two = (value) => String(value).padStart(2, "0");
  const whole = Math.floor(ms / 1000);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60].map(two);
  return `${parts.join(":")}${point}${String(ms % 1000).padStart(3, "0")}`;
}
