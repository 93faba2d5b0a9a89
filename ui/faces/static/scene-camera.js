// How the scene is moved through: orbit (mouse, touch), walk (WASD, arrows), fly to a box; all without surprise for those who asked
// their system for less motion.
import * as T from "./vendor/three.js";

// A lens that bends little: with a wider one, what stands near looks larger than the racks behind it.
const FOV_DEG = 38;
const EYE_M = 1.7, WALK_MPS = 4, RUN = 3, FLY_MS = 700;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const KEYS = {
  KeyW: [1, 0, 0], ArrowUp: [1, 0, 0], KeyS: [-1, 0, 0], ArrowDown: [-1, 0, 0],
  KeyA: [0, -1, 0], ArrowLeft: [0, -1, 0], KeyD: [0, 1, 0], ArrowRight: [0, 1, 0], KeyE: [0, 0, 1], KeyQ: [0, 0, -1],
};

// The camera's own axes where it looks along -from.
function axes(from) {
  const ahead = new T.Vector3(...from).normalize().negate(), right = new T.Vector3().crossVectors(ahead, new T.Vector3(0, 0, 1)).normalize();
  return { ahead, right, up: new T.Vector3().crossVectors(right, ahead) };
}

// The middle of the room that points take.
function middleOf(points) {
  const box = new T.Box3().setFromArray(points);
  return box.getCenter(new T.Vector3());
}

// How near one may come (z, along the view) so that coordinate k of all corners lies between the slopes low and high of the
// frustum, and where to stand then: in the middle of what is left.
function between(corners, k, low, high) {
  let most = -Infinity, least = Infinity;
  for (const corner of corners) {
    most = Math.max(most, corner[k] - high * corner[2]);
    least = Math.min(least, corner[k] - low * corner[2]);
  }
  return { z: (least - most) / (high - low), at: (z) => (most + high * z + least + low * z) / 2 };
}

export class Camera {
  constructor(canvas, changed) {
    this.three = new T.PerspectiveCamera(FOV_DEG, 1, 0.05, 4000);
    this.three.up.set(0, 0, 1);
    this.controls = new T.OrbitControls(this.three, canvas);
    this.controls.maxPolarAngle = Math.PI * 0.495;
    this.controls.minDistance = 0.4;
    this.controls.maxDistance = 1500;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", changed);
    this.controls.addEventListener("start", () => this.free());
    this.changed = changed;
    this.resting = null; // the view that it stands at until it is moved: "hall", "site"
    this.held = new Set();
    this.walking = false;
    this.flight = null;
    canvas.addEventListener("keydown", (event) => this.key(event, true));
    canvas.addEventListener("keyup", (event) => this.key(event, false));
    canvas.addEventListener("blur", () => this.held.clear());
  }

  key(event, down) {
    if (!KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (down) this.held.add(event.code);
    else this.held.delete(event.code);
    this.fast = event.shiftKey;
    this.free();
    this.changed();
  }

  free() {
    this.resting = null;
  }

  get moving() {
    return this.held.size > 0 || this.flight !== null;
  }

  // Move for what is held and what flies; dt in s.
  step(dt) {
    if (this.flight) this.fly(performance.now());
    if (!this.held.size) return;
    const ahead = new T.Vector3().subVectors(this.controls.target, this.three.position).setZ(0);
    if (ahead.lengthSq() < 1e-6) ahead.set(0, 1, 0);
    ahead.normalize();
    const right = new T.Vector3(ahead.y, -ahead.x, 0), move = new T.Vector3();
    for (const code of this.held) {
      const [forward, side, up] = KEYS[code];
      move.addScaledVector(ahead, forward).addScaledVector(right, side).add(new T.Vector3(0, 0, this.walking ? 0 : up));
    }
    const reach = this.walking ? 1 : Math.max(1, this.three.position.distanceTo(this.controls.target) / 8);
    move.multiplyScalar(WALK_MPS * (this.fast ? RUN : 1) * reach * Math.min(dt, 0.1));
    this.three.position.add(move);
    this.controls.target.add(move);
    this.controls.update();
  }

  walk(on) {
    this.walking = on;
    const { target } = this.controls;
    const ahead = new T.Vector3().subVectors(target, this.three.position).normalize();
    if (on) {
      this.three.position.z = EYE_M;
      ahead.setZ(0).normalize();
      target.copy(this.three.position).addScaledVector(ahead, 0.5);
    } else target.copy(this.three.position).addScaledVector(ahead, 12);
    this.controls.rotateSpeed = on ? -0.35 : 1;
    this.controls.maxPolarAngle = on ? Math.PI * 0.85 : Math.PI * 0.495;
    this.controls.enableZoom = this.controls.enablePan = !on;
    this.controls.minDistance = on ? 0.5 : 0.4;
    this.controls.update();
    this.changed();
  }

  // From where all points (x, y, z after each other, m) are seen, looking along -from, within the part of the picture that covers
  // leave free: each is {left, right, top, bottom} in shares of it, and the one that lets come nearest is taken.
  // Gives {position, target}.
  fitted(points, from, covers) {
    const { ahead, right, up } = axes(from), tall = Math.tan((this.three.fov * Math.PI) / 360), wide = tall * this.three.aspect;
    const corner = new T.Vector3(), middle = middleOf(points), corners = [];
    for (let i = 0; i < points.length; i += 3) {
      corner.fromArray(points, i).sub(middle);
      corners.push([corner.dot(right), corner.dot(up), corner.dot(ahead)]);
    }
    let best = null;
    for (const cover of covers) {
      const x = between(corners, 0, wide * (2 * cover.left - 1), wide * (1 - 2 * cover.right));
      const y = between(corners, 1, tall * (2 * cover.bottom - 1), tall * (1 - 2 * cover.top));
      const z = Math.min(x.z, y.z, -this.controls.minDistance);
      if (best && best.z >= z) continue;
      best = { z, position: middle.clone().addScaledVector(right, x.at(z)).addScaledVector(up, y.at(z)).addScaledVector(ahead, z) };
    }
    return { position: best.position, target: best.position.clone().addScaledVector(ahead, -best.z) };
  }

  // How much of the picture boxes (each centre and size, m) take that stand between a place and what is looked at from there.
  hidden({ position, target }, boxes) {
    const ahead = new T.Vector3().subVectors(target, position), far = ahead.length(), near = Math.tan((this.three.fov * Math.PI) / 360) * this.three.aspect;
    const to = new T.Vector3();
    ahead.normalize();
    return boxes.reduce((sum, { centre, size }) => {
      const deep = to.fromArray(centre).sub(position).dot(ahead), aside = to.addScaledVector(ahead, -deep).length();
      return deep > far || aside > Math.abs(deep) * near ? sum : sum + (Math.hypot(...size) / Math.max(deep, 0.5)) ** 2;
    }, 0);
  }

  // Go there, at once or in a flight; name: the view that this is, if it has one.
  go({ position, target }, name = null, atOnce = false) {
    if (this.walking) this.walk(false);
    this.resting = name;
    this.flight = { from: [this.three.position.clone(), this.controls.target.clone()], start: performance.now(), to: [position, target] };
    if (still.matches || atOnce) {
      this.flight.start = -Infinity;
      this.fly(performance.now());
    }
    this.changed();
  }

  fly(now) {
    const { from, to, start } = this.flight;
    const t = Math.min((now - start) / FLY_MS, 1), ease = 1 - (1 - t) ** 3;
    this.three.position.lerpVectors(from[0], to[0], ease);
    this.controls.target.lerpVectors(from[1], to[1], ease);
    this.controls.update();
    this.three.updateMatrixWorld(); // rays are cast before the next picture is drawn
    if (t === 1) this.flight = null;
  }

  place(numbers) {
    this.flight = this.resting = null;
    this.three.position.set(...numbers.slice(0, 3));
    this.controls.target.set(...numbers.slice(3, 6));
    this.controls.update();
  }

  get placed() {
    return [...this.three.position.toArray(), ...this.controls.target.toArray()].map((v) => Math.round(v * 100) / 100);
  }
}
