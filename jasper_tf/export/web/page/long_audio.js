// Long recordings in overlapping pieces, joined by words: the same as inference/long_audio.py of jasper_tf.

const [CHUNK_S, OVERLAP_S] = [40, 4];
const SAME_WORD_S = 0.3;

/** [start, end] of the pieces of a recording, in samples; one for a recording that is not cut. */
export function piecesOf(samples, sampleRate) {
  const [longest, overlap] = [CHUNK_S * sampleRate, OVERLAP_S * sampleRate];
  if (samples <= longest) return [[0, samples]];
  const count = Math.ceil((samples - overlap) / (longest - overlap));
  const length = Math.ceil((samples + (count - 1) * overlap) / count);
  return Array.from({ length: count }, (_, k) => {
    const start = roundHalfEven((k * (samples - length)) / (count - 1));
    return [start, start + length];
  });
}

/** Joins the words of pieces; parts: of `piecesOf`. */
export function joinPieces(parts, found, sampleRate) {
  let joined = [];
  for (const [k, words] of found.entries()) {
    const shiftS = parts[k][0] / sampleRate;
    const shifted = words.map((word) => ({ ...word, start_s: word.start_s + shiftS, end_s: word.end_s + shiftS }));
    if (!k) joined = shifted;
    else {
      // Earlier words cannot be the same.
      let near = joined.length;
      while (near && center(joined[near - 1]) >= shiftS - SAME_WORD_S) near--;
      const middleS = (parts[k][0] + parts[k - 1][1]) / 2 / sampleRate;
      joined.push(...joinOverlapping(joined.splice(near), shifted, middleS));
    }
  }
  return joined;
}

/** The seam is the common word nearest to the middle; without one, the middle. */
function joinOverlapping(left, right, middleS) {
  let [best, from, to] = [Infinity, -1, -1];
  for (const [i, word] of left.entries()) {
    const j = nearest(word, right);
    const apart = Math.abs(center(word) - middleS);
    if (j >= 0 && nearest(right[j], left) === i && apart < best) [best, from, to] = [apart, i, j];
  }
  if (from >= 0) return [...left.slice(0, from + 1), ...right.slice(to + 1)];
  return [...left.filter((word) => center(word) < middleS), ...right.filter((word) => center(word) >= middleS)];
}

/** Number of the nearest occurrence of the same word, -1 if there is none near. */
function nearest(word, others) {
  let [best, found] = [Infinity, -1];
  for (const [k, other] of others.entries()) {
    const apart = Math.abs(center(other) - center(word));
    if (other.text === word.text && apart < best) [best, found] = [apart, k];
  }
  return best <= SAME_WORD_S ? found : -1;
}

function center(word) {
  return (word.start_s + word.end_s) / 2;
}

function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
