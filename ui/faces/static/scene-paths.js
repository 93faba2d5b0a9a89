// Which way power and water go to a box: along the links that feed and cool, through whatever holds it.
import { GPU } from "./scene-data.js";

// {upstream: Map box -> links that lead to it, downstream: the other way}; a link is [other box, its number].
function ends(pairs) {
  const up = new Map(), down = new Map();
  const put = (map, key, value) => (map.has(key) ? map.get(key).push(value) : map.set(key, [value]));
  for (let i = 0; i < pairs.length; i += 2) {
    put(up, pairs[i + 1], [pairs[i], i / 2]);
    put(down, pairs[i], [pairs[i + 1], i / 2]);
  }
  return { up, down };
}

export class Paths {
  constructor(scene) {
    this.scene = scene;
    this.feed = ends(scene.feed);
    this.cool = ends(scene.cool);
    this.runs = new Map(); // box -> its runs of pipe
    scene.pipe_box.forEach((box, run) => (this.runs.has(box) ? this.runs.get(box).push(run) : this.runs.set(box, [run])));
    this.parts = new Map(); // rack -> the strips and units in it that links name
    for (let i = 0; i < scene.n; i++) {
      const parent = scene.parent[i];
      if (parent >= 0 && scene.level[i] < GPU) (this.parts.get(parent) || this.parts.set(parent, []).get(parent)).push(i);
    }
  }

  // The boxes, cables and runs of pipe on the way of power and of water to box, and from it on.
  of(box) {
    const power = this.walk(this.feed, box), water = this.walk(this.cool, box);
    const runs = new Set();
    for (const one of water.boxes) for (const run of this.runs.get(one) || []) runs.add(run);
    return { power: power.boxes, cables: power.links, water: water.boxes, runs };
  }

  walk(links, box) {
    const holders = [];
    for (let here = box; here >= 0; here = this.scene.parent[here]) if (this.scene.level[here] > 0) holders.push(here);
    const boxes = new Set(), found = new Set();
    // strips of a rack feed what stands in it without a link of their own
    const starts = holders.some((one) => links.up.has(one)) ? holders : holders.flatMap((one) => [one, ...(this.parts.get(one) || [])]);
    this.go(links.up, starts, boxes, found);
    this.go(links.down, [box], boxes, found);
    if (boxes.size) for (const one of holders) boxes.add(one);
    return { boxes, links: found };
  }

  go(links, starts, boxes, found) {
    const open = [...starts], seen = new Set(starts);
    while (open.length) {
      for (const [other, link] of links.get(open.pop()) || []) {
        found.add(link);
        boxes.add(other);
        if (!seen.has(other)) {
          seen.add(other);
          open.push(other);
        }
      }
    }
  }
}
