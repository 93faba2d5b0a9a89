// Names that float over the 3D view as text: of halls from afar, of the nearest racks and units from close by. No draw call each.
import * as T from "./vendor/three.js";
import { HALL, RACK } from "./scene-data.js";

const NEAR_M = 26, MOST = 24;
const HALLS_PER_VIEW = 40;

export class Labels {
  constructor(holder, scene) {
    this.holder = holder;
    this.scene = scene;
    this.halls = [];
    this.things = [];
    for (let i = 0; i < scene.n; i++) {
      if (scene.level[i] === HALL && scene.kindOf(i) === "hall" && this.halls.length < HALLS_PER_VIEW) this.halls.push(i);
      else if (scene.level[i] === RACK) this.things.push(i);
    }
    this.pool = [];
    this.key = "";
  }

  // Where the camera is now; side by side each half has its own.
  place(camera, width, height, halves) {
    const key = [...camera.position.toArray(), ...camera.quaternion.toArray(), width, height, halves].map((v) => v.toFixed(3)).join();
    if (key === this.key) return;
    this.key = key;
    const at = camera.position, c = this.scene.centre, s = this.scene.size;
    const far = (i) => Math.hypot(at.x - c[3 * i], at.y - c[3 * i + 1], at.z - c[3 * i + 2]);
    const near = this.things.filter((i) => far(i) < NEAR_M).sort((a, b) => far(a) - far(b)).slice(0, MOST);
    let used = 0;
    for (const i of [...this.halls, ...near]) {
      const hall = this.scene.level[i] === HALL;
      const point = new T.Vector3(c[3 * i], c[3 * i + 1] - (hall ? s[3 * i + 1] / 2 : 0), c[3 * i + 2] + (hall ? 0 : s[3 * i + 2] / 2 + 0.25));
      if (hall && near.length) continue;
      point.project(camera);
      if (point.z > 1 || Math.abs(point.x) > 1 || Math.abs(point.y) > 1) continue;
      for (let half = 0; half < halves; half++) {
        const label = (this.pool[used] ||= this.holder.appendChild(document.createElement("span")));
        used++;
        label.textContent = hall ? this.scene.halls[this.scene.hall[i]]?.name || this.scene.id[i] : this.scene.id[i];
        label.className = hall ? "hall" : "";
        label.style.transform = `translate(${(((point.x + 1) / 2 + half) * width) / halves}px, ${((1 - point.y) / 2) * height}px) translate(-50%, -50%)`;
        label.hidden = false;
      }
    }
    for (const label of this.pool.slice(used)) label.hidden = true;
  }
}
