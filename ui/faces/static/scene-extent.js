// What one comes to see: the racks of the main halls, and how much room they take.
import { RACK } from "./scene-data.js";

const MAIN = 0.25; // a hall with fewer racks than this share of the largest one's is aside

// Racks and CDUs of the halls that hold most racks; none where there is no rack.
export function mainBoxes(scene) {
  const count = new Map(), stand = [];
  for (let i = 0; i < scene.n; i++) {
    if (scene.level[i] !== RACK) continue;
    const kind = scene.kindOf(i);
    if (kind === "rack" || kind === "cdu") stand.push(i);
    if (kind === "rack") count.set(scene.hall[i], (count.get(scene.hall[i]) || 0) + 1);
  }
  const most = Math.max(0, ...count.values());
  return stand.filter((i) => count.get(scene.hall[i]) >= MAIN * most);
}

// [low, high] (m) of these boxes and of racks that a scenario adds ({centre, size}); of the whole site for none.
export function extentOf(scene, which, added = null) {
  if (!which.length) return [[...scene.bounds.low], [...scene.bounds.high]];
  const low = [Infinity, Infinity, 0], high = [-Infinity, -Infinity, -Infinity];
  const take = (centre, size, i) => {
    for (let k = 0; k < 3; k++) {
      low[k] = Math.min(low[k], centre[3 * i + k] - size[3 * i + k] / 2);
      high[k] = Math.max(high[k], centre[3 * i + k] + size[3 * i + k] / 2);
    }
  };
  for (const i of which) take(scene.centre, scene.size, i);
  added?.ids.forEach((_, i) => take(added.centre, added.size, i));
  return [low, high];
}
