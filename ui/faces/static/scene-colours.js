// The 256 colours that bytes stand for, by what is shown: a magnitude, a signed difference, alerts.
import { at } from "./scales.js";
import { FLOOR, NO_METRIC, SILENT, TOP, TRAY } from "./scene-data.js";

const root = document.documentElement;
export const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

// [r, g, b] 0-255 of a CSS colour as the theme gives it.
export function rgbOf(text) {
  const hex = text.match(/^#([0-9a-f]{6})$/i);
  if (hex) return [0, 2, 4].map((k) => parseInt(hex[1].slice(k, k + 2), 16));
  return (text.match(/\d+(\.\d+)?/g) || [128, 128, 128]).slice(0, 3).map(Number);
}

// Uint8Array(1024) of RGBA; kind: "magnitude", "signed" or "alerts".
export function lut(kind) {
  const table = new Uint8Array(1024);
  const put = (i, [r, g, b]) => table.set([r, g, b, 255], 4 * i);
  const states = ["--calm", "--info", "--warn", "--bad"].map((name) => rgbOf(css(name)));
  for (let i = 0; i <= TOP; i++) {
    if (kind === "alerts") put(i, states[Math.min(Math.round(i / 83.4), 3)]);
    else put(i, at(kind === "signed" ? "diverging" : "viridis", i / TOP));
  }
  const neutral = rgbOf(css("--quiet-fill"));
  for (let i = TOP + 1; i <= NO_METRIC; i++) put(i, neutral.map((v, k) => Math.round((v + rgbOf(css("--panel"))[k]) / 2)));
  const [panel, raised] = [rgbOf(css("--panel")), rgbOf(css("--raised"))];
  put(FLOOR, panel.map((v, k) => Math.round((v + raised[k]) / 2)));
  put(TRAY, neutral.map((v, k) => Math.round((v + raised[k]) / 2)));
  put(SILENT, rgbOf(css("--stale")).map((v) => Math.round(v * 0.8)));
  return table;
}

export const cssAt = (table, byte) => `rgb(${table[4 * byte]},${table[4 * byte + 1]},${table[4 * byte + 2]})`;
