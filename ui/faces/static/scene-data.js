// The scene and its frames as they come from the server (ui/scene/wire.py says their form), and the push that brings frames.
export const TOP = 250, NO_METRIC = 254, SILENT = 255;
export const TRAY = 252, FLOOR = 253; // never sent: what is part of the house has its own colours
export const HALL = 0, RACK = 1, NODE = 2, GPU = 3, HIDDEN = 4;
const TYPES = { f4: Float32Array, i4: Int32Array, u2: Uint16Array, u1: Uint8Array };
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const FULL = 1013, REFUSED = 1008;

// {head, at}: the JSON head of a body, and where its data begins.
function opened(buffer, marker) {
  const bytes = new Uint8Array(buffer);
  if (String.fromCharCode(...bytes.subarray(0, 4)) !== marker) throw new Error(`no ${marker} body`);
  const length = new DataView(buffer).getUint32(4, true);
  return { head: JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))), at: 8 + length };
}

export async function loadScene() {
  const answer = await fetch("/api/v1/scene");
  if (!answer.ok) throw new Error(`/api/v1/scene: ${answer.status}`);
  return sceneOf(await answer.arrayBuffer());
}

export function sceneOf(buffer) {
  const { head, at } = opened(buffer, "ICS1");
  const scene = { ...head };
  for (const [name, { type, shape, at: from }] of Object.entries(head.arrays)) {
    scene[name] = new TYPES[type](buffer, at + from, shape.reduce((a, b) => a * b, 1));
  }
  const text = new TextDecoder().decode(new Uint8Array(buffer, at + head.ids.at, head.ids.bytes));
  scene.id = text.split("\n");
  scene.n = scene.kind.length;
  scene.box = new Map(scene.id.map((id, i) => [id, i]).filter(([id]) => id));
  scene.kindOf = (i) => scene.kinds[scene.kind[i]] || "";
  scene.bounds = boundsOf(scene);
  return scene;
}

function boundsOf(scene) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < scene.n; i++) {
    if (scene.level[i] > RACK) continue;
    for (let k = 0; k < 3; k++) {
      low[k] = Math.min(low[k], scene.centre[3 * i + k] - scene.size[3 * i + k] / 2);
      high[k] = Math.max(high[k], scene.centre[3 * i + k] + scene.size[3 * i + k] / 2);
    }
  }
  return low[0] === Infinity ? { low: [0, 0, 0], high: [10, 10, 3] } : { low, high };
}

// A frame's bytes put where they belong; gives its head. into: {tint, temp, flow, pulses, added}, made by blank().
export function applyFrame(buffer, scene, into) {
  const { head, at } = opened(buffer, "ICF1");
  if (head.hash !== scene.hash) return { ...head, stranger: true };
  const bytes = new Uint8Array(buffer);
  into.tint.fill(SILENT);
  let from = at;
  for (const [begin, end] of head.pieces) {
    into.tint.set(bytes.subarray(from, from + end - begin), begin);
    from += end - begin;
  }
  into.temp.set(bytes.subarray(from, from + head.pipes));
  into.flow.set(bytes.subarray(from + head.pipes, from + 2 * head.pipes));
  from += 2 * head.pipes;
  const view = new DataView(buffer, from);
  into.pulses = Array.from({ length: head.pulses }, (_, i) => view.getUint32(4 * i, true)).map((word) => [word >>> 2, word & 3]);
  from += 4 * head.pulses;
  into.added = bytes.slice(from, from + head.added);
  return head;
}

export const blank = (scene) => ({
  tint: new Uint8Array(scene.n).fill(SILENT), temp: new Uint8Array(scene.pipe_side.length).fill(SILENT),
  flow: new Uint8Array(scene.pipe_side.length).fill(SILENT), pulses: [], added: new Uint8Array(0),
});

// The value that a byte stands for on the frame's scale of a kind; null where it stands for none.
export function valueOf(byte, scale) {
  return byte > TOP || !scale ? null : scale[0] + (byte / TOP) * (scale[1] - scale[0]);
}

// Close a socket; one that is just being opened is closed when it is.
function leave(socket) {
  if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
  else socket.close();
}

// Keeps one socket open on what is asked for; hear(buffer) gets each frame, told(state) "live", "lost" or a refusal.
export class SceneSocket {
  constructor(hear, told) {
    this.hear = hear;
    this.told = told;
    this.retries = 0;
    this.socket = this.before = null;
    this.asked = "";
    this.wait = 0;
  }

  ask(params) {
    const asked = String(new URLSearchParams(params));
    if (asked === this.asked && this.socket) return;
    this.asked = asked;
    this.connect();
  }

  // The socket before is heard until this one speaks, so that nothing is dark meanwhile.
  connect() {
    clearTimeout(this.wait);
    const before = this.socket || this.before;
    if (this.before && this.before !== before) leave(this.before);
    this.before = before;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const mine = new WebSocket(`${scheme}://${location.host}/live/scene?${this.asked}`);
    mine.binaryType = "arraybuffer";
    this.socket = mine;
    mine.onmessage = (event) => {
      if (mine !== this.socket && mine !== this.before) return;
      if (mine === this.socket) this.letGo();
      this.retries = 0;
      this.hear(event.data);
    };
    mine.onclose = (event) => {
      if (mine !== this.socket) return; // replaced on purpose
      this.letGo();
      const wait = event.code === FULL || event.code === REFUSED ? 15000 : RETRY_MS[Math.min(this.retries++, RETRY_MS.length - 1)];
      this.told(event.code === FULL || event.code === REFUSED ? event.reason : "lost");
      this.wait = setTimeout(() => mine === this.socket && this.connect(), wait);
    };
  }

  letGo() {
    if (this.before) leave(this.before);
    this.before = null;
  }

  rest() {
    clearTimeout(this.wait);
    const old = this.socket;
    this.letGo();
    this.socket = null;
    this.asked = "";
    if (old) leave(old);
  }
}

// The rack that holds a box (or that it is), the first of all where none does; null where there is none.
export function rackOf(scene, box) {
  for (let here = box; here !== null && here >= 0; here = scene.parent[here]) if (scene.kindOf(here) === "rack") return here;
  const first = scene.kind.findIndex((kind) => scene.kinds[kind] === "rack");
  return first >= 0 ? first : null;
}
