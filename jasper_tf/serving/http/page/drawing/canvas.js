// Canvases in CSS pixels, sharp on every screen, in the colors of the page.

/** Width of the column left of the pictures, where labels and frequencies stand, CSS pixels. */
export const GUTTER = 40;

/** Clears a canvas, as wide as its place on the page and `height` CSS pixels high. Returns its context and width. */
export function openCanvas(canvas, height) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, canvas.parentElement.clientWidth);
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

/** The value of a color of the style sheet, such as "--accent". */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Font of text in pictures. */
export const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif';
