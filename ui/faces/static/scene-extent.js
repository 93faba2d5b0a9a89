// What one comes to see: the racks of the main halls, and how much room they take.
import { RACK } from "./scene-data.js";

const MAIN = 0.25; // a hall with fewer racks than this share of the largest one's is aside

// Racks and CDUs of the halls that hold most racks; where there is no rack, or of "site", all that stands on floors and these.
export function mainBoxes(scene, name = "hall") {
  const count = new Map(), stand = [], all = [];
  for (let i = 0; i < scene.n; i++) {
    if (scene.level[i] > RACK) continue;
    const kind = scene.kindOf(i);
    all.push(i);
    if (kind === "rack" || kind === "cdu") stand.push(i);
    if (kind === "rack") count.set(scene.hall[i], (count.get(scene.hall[i]) || 0) + 1);
  }
  const most = Math.max(0, ...count.values());
  return name === "hall" && most ? stand.filter((i) => count.get(scene.hall[i]) >= MAIN * most) : all;
}

// All else that stands about: centre and size (m) of each.
export function asideOf(scene, main) {
  const taken = new Set(main), found = [];
  for (let i = 0; i < scene.n; i++) {
    if (scene.level[i] > RACK || taken.has(i)) continue;
    found.push({ centre: [...scene.centre.subarray(3 * i, 3 * i + 3)], size: [...scene.size.subarray(3 * i, 3 * i + 3)] });
  }
  return found;
}

// The eight corners (m, x, y, z after each other) of these boxes, each swollen by a factor, and of racks that a scenario adds.
export function cornersOf(scene, which, added = null, swell = 1) {
  const made = [];
  const take = ({ centre, size }, i) => {
    for (let k = 0; k < 8; k++) for (let axis = 0; axis < 3; axis++) made.push(centre[3 * i + axis] + ((k >> axis) & 1 ? 0.5 : -0.5) * swell * size[3 * i + axis]);
  };
  for (const i of which) take(scene, i);
  added?.ids.forEach((_, i) => take(added, i));
  return made.length ? made : [0, 0, 0, 10, 10, 3];
}

// [low, high] (m) of these points.
export function extentOf(points) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  points.forEach((v, i) => {
    low[i % 3] = Math.min(low[i % 3], v);
    high[i % 3] = Math.max(high[i % 3], v);
  });
  return [low, high];
}
