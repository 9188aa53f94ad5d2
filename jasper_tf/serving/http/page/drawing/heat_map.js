import { colorMap } from "./color_map.js";

/**
 * Draws bytes as colors into a rectangle.
 *
 * values: Uint8Array [frames, rows], row 0 at the bottom. Where a pixel covers several frames their highest value
 * shows: a label of CTC often lasts one frame.
 */
export function drawHeatMap(context, values, frames, rows, { x, y, width, height }) {
  if (!frames || !rows || width < 1) return;
  const columns = Math.min(frames, Math.max(1, Math.floor(width * (window.devicePixelRatio || 1))));
  const image = new ImageData(columns, rows);
  const colors = colorMap();
  for (let column = 0; column < columns; column++) {
    const first = Math.floor((column * frames) / columns);
    const end = Math.max(first + 1, Math.floor(((column + 1) * frames) / columns));
    for (let row = 0; row < rows; row++) {
      let highest = 0;
      for (let t = first; t < end; t++) highest = Math.max(highest, values[t * rows + row]);
      const at = 4 * ((rows - 1 - row) * columns + column);
      image.data.set(colors[highest], at);
      image.data[at + 3] = 255;
    }
  }
  const buffer = document.createElement("canvas");
  buffer.width = columns;
  buffer.height = rows;
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(buffer, x, y, width, height);
}
