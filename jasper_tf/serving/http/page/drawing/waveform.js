import { color, openCanvas } from "./canvas.js";

/** The lowest and highest sample of each column: samples [S] -> Float32Array [columns, 2]. */
export function peaksOf(samples, columns) {
  const peaks = new Float32Array(2 * columns);
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((column * samples.length) / columns);
    const end = Math.max(first + 1, Math.floor(((column + 1) * samples.length) / columns));
    let [low, high] = [0, 0];
    for (let i = first; i < end && i < samples.length; i++) {
      if (samples[i] < low) low = samples[i];
      else if (samples[i] > high) high = samples[i];
    }
    peaks.set([low, high], 2 * column);
  }
  return peaks;
}

/** Draws peaks [columns, 2] over the whole canvas; the loudest fills it, unless `loudest` says what does. */
export function drawWaveform(canvas, peaks, height, loudest = 0) {
  const { context, width } = openCanvas(canvas, height);
  const columns = peaks.length / 2;
  let most = loudest;
  if (!most) for (const value of peaks) most = Math.max(most, Math.abs(value));
  const scale = (height / 2 - 2) / Math.max(most, 1e-4);
  context.fillStyle = color("--line");
  context.fillRect(0, height / 2 - 0.5, width, 1);
  context.fillStyle = color("--accent");
  for (let column = 0; column < columns; column++) {
    const [low, high] = [peaks[2 * column], peaks[2 * column + 1]];
    const top = height / 2 - high * scale;
    context.fillRect((column * width) / columns, top, Math.max(0.6, width / columns - 0.4), Math.max(1, (high - low) * scale));
  }
}
