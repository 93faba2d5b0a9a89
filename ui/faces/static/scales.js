// Scales of colour that the colour-blind read too. Magnitude: viridis and cividis (Smith, van der Walt; Nunez, Anderton, Renslow:
// luminance grows evenly); signed differences: a blue-white-red of Moreland's kind. 9 stops each, mixed in between.
export const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];
export const CIVIDIS = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838"];
export const DIVERGING = ["#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#f7f7f7", "#fddbc7", "#f4a582", "#d6604d", "#b2182b"];
const NAMED = { viridis: VIRIDIS, cividis: CIVIDIS, diverging: DIVERGING };

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

// [r, g, b] (0-255) at share (0-1) of the scale called name.
export function at(name, share) {
  const stops = NAMED[name];
  const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  const [a, b] = [rgb(stops[i]), rgb(stops[i + 1])];
  return a.map((value, k) => Math.round(value + (b[k] - value) * (place - i)));
}

// "rgb(…)" of value on a scale from low to high.
export const colour = (name, value, low, high) => `rgb(${at(name, (value - low) / (high - low || 1)).join(",")})`;

// "#0b1117" or "#ffffff": which ink reads on that colour (relative luminance of WCAG).
export function inkOn([r, g, b]) {
  const line = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2] > 0.179 ? "#0b1117" : "#ffffff";
}
