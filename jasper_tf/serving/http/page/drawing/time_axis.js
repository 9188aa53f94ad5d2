import { color, FONT } from "./canvas.js";

const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600];
const LEAST_PX = 56;

/** Height of the axis, CSS pixels. */
export const AXIS = 18;

/** Seconds as people write them: 0:07, 1:02:03, with tenths if asked for. */
export function clock(seconds, tenths = false) {
  const whole = tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** Draws ticks and times from `startS` to `endS` below `y`. */
export function drawTimeAxis(context, { startS, endS }, { x, y, width }) {
  const perS = width / Math.max(endS - startS, 1e-3);
  const step = STEPS_S.find((one) => one * perS >= LEAST_PX) || STEPS_S.at(-1);
  context.font = FONT;
  context.fillStyle = color("--soft");
  context.textAlign = "center";
  context.textBaseline = "top";
  for (let k = Math.ceil(startS / step - 1e-6); k * step <= endS + 1e-6; k++) {
    const at = x + (k * step - startS) * perS;
    context.fillRect(at, y, 1, 4);
    const text = clock(k * step, step < 1);
    const half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(Math.max(at, x + half), x + width - half), y + 5);
  }
}
