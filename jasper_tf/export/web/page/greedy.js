// Greedy CTC decoding, and words with times and confidences: the same as GreedyDecoder and group_words of jasper_tf.

/** logProbs: Float32Array [frames, classes] -> the best class of each frame and its probability: [{label, posterior}]. */
export function bestPath({ logProbs, frames, classes }) {
  return Array.from({ length: frames }, (_, t) => {
    const first = t * classes;
    let best = first;
    for (let i = first + 1; i < first + classes; i++) if (logProbs[i] > logProbs[best]) best = i;
    return { label: best - first, posterior: Math.exp(logProbs[best]) };
  });
}

/**
 * Collapses repeats and drops blanks: [{label, start, end, confidence}].
 *
 * path: of `bestPath`. start <= frame < end; confidence: the mean probability of these frames.
 */
export function collapse(path, blank) {
  const labels = [];
  for (let start = 0, end; start < path.length; start = end) {
    const { label } = path[start];
    let total = 0;
    for (end = start; end < path.length && path[end].label === label; end++) total += path[end].posterior;
    if (label !== blank) labels.push({ label, start, end, confidence: Math.min(1, total / (end - start)) });
  }
  return labels;
}

/** The text of labels, as the tokenizers' `decode` gives it. info: what model.json says. */
export function decode(labels, { labels: pieces, first_labels: first }) {
  return labels.reduce((text, { label }) => text + (text ? pieces : first)[label], "");
}

/**
 * Groups labels into words {text, start_s, end_s, confidence}; a word is as certain as its least certain label.
 *
 * pieces: the text of each label. One that begins with a space starts a word; " " alone is between words.
 */
export function groupLabels(labels, pieces, frameS, firstFrame = 0) {
  const words = [];
  let inWord = false;
  let endsWord = false;
  for (const { label, start, end, confidence } of labels) {
    const startsWord = pieces[label].startsWith(" ");
    const text = pieces[label].replace(/^ +| +$/g, "");
    if (startsWord || endsWord) inWord = false;
    endsWord = pieces[label].endsWith(" ");
    if (!text) continue;
    if (!inWord) words.push({ text: "", start_s: (firstFrame + start) * frameS, confidence: 1 });
    inWord = true;
    const word = words.at(-1);
    word.text += text;
    word.end_s = (firstFrame + end) * frameS;
    word.confidence = Math.min(word.confidence, confidence);
  }
  return words.map(({ text, start_s, end_s, confidence }) => ({ text, start_s, end_s, confidence }));
}
