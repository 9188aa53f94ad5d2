// Colors of a picture of numbers: from the page's background to a strong color, even in lightness, for both themes.

const LIGHT = ["#ffffff", "#d3e9ec", "#8cc6cf", "#3f94a6", "#14607c", "#0c2f55", "#0a1431"];
const DARK = ["#131920", "#13313c", "#12566a", "#1c8393", "#4fb6ac", "#b4dd9b", "#fdf6b8"];

/** 256 colors [256][r, g, b] for the theme that the system asks for. */
export function colorMap() {
  const stops = (window.matchMedia("(prefers-color-scheme: dark)").matches ? DARK : LIGHT).map(parse);
  return Array.from({ length: 256 }, (_, i) => {
    const at = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(at), stops.length - 2);
    return stops[k].map((low, c) => Math.round(low + (stops[k + 1][c] - low) * (at - k)));
  });
}

function parse(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
