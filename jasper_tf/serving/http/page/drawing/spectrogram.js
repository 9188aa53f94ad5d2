import { color, FONT, GUTTER, openCanvas } from "./canvas.js";
import { drawHeatMap } from "./heat_map.js";
import { AXIS, drawTimeAxis } from "./time_axis.js";

const TICKS_HZ = [250, 500, 1000, 2000, 4000];
const HEIGHT = 150;

/**
 * Draws a spectrogram over the time axis.
 *
 * picture: {values: Uint8Array [frames, bands], frames, bandHz: [bands]}; null draws the axis only.
 * span: {startS, endS} of the picture.
 */
export function drawSpectrogram(canvas, picture, span) {
  const { context, width } = openCanvas(canvas, HEIGHT);
  const place = { x: GUTTER, y: 0, width: width - GUTTER, height: HEIGHT - AXIS };
  if (picture) {
    const bands = picture.values.length / Math.max(picture.frames, 1);
    drawHeatMap(context, picture.values, picture.frames, bands, place);
    drawFrequencies(context, picture.bandHz, place);
  }
  drawTimeAxis(context, span, { x: place.x, y: place.height, width: place.width });
}

function drawFrequencies(context, bandHz, place) {
  context.font = FONT;
  context.fillStyle = color("--soft");
  context.textAlign = "right";
  context.textBaseline = "middle";
  const row = place.height / bandHz.length;
  let last = Infinity;
  for (const hz of TICKS_HZ) {
    const band = bandHz.findIndex((one) => one >= hz);
    const y = place.height - (band + 0.5) * row;
    if (band < 0 || last - y < 14) continue;
    context.fillText(hz < 1000 ? String(hz) : `${hz / 1000} kHz`, GUTTER - 5, Math.max(y, 6));
    last = y;
  }
}
