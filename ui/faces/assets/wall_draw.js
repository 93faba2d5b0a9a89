// The wall's two drawings, as SVG: the plan of the hall and the way of the power.
(() => {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  // Dark and cool is well; what asks to be seen is bright and warm. Luminance only grows, so it reads without colour too.
  const STOPS = { temp: [[25, "#14202b"], [45, "#1d3b52"], [65, "#346a8c"], [80, "#8fb9cf"], [83, "#f2b83b"], [92, "#ff7043"]],
                  load: [[0, "#14202b"], [40, "#1d3b52"], [75, "#346a8c"], [94, "#8fb9cf"], [95, "#f2b83b"], [110, "#ff7043"]] };
  const TICKS = { temp: [30, 50, 70, 90], load: [0, 50, 100] };
  const UNIT = { temp: "°C", load: "%" };
  const RACK_M = [0.6, 1.2]; // a cabinet's footprint

  function svg(name, attributes = {}, ...children) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function mix(from, to, share) {
    const [a, b] = [from, to].map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    return `rgb(${a.map((value, i) => Math.round(value + (b[i] - value) * share)).join(",")})`;
  }

  function colour(kind, value) {
    const stops = STOPS[kind];
    if (value <= stops[0][0]) return stops[0][1];
    for (let i = 1; i < stops.length; i++) {
      if (value <= stops[i][0]) return mix(stops[i - 1][1], stops[i][1], (value - stops[i - 1][0]) / (stops[i][0] - stops[i - 1][0]));
    }
    return stops[stops.length - 1][1];
  }

  // Where the racks stand in a box of w by h pixels: a plan, not a map: stretched where that fits, turned where it makes racks larger.
  function places(plan, w, h) {
    const n = plan.ids.length;
    let x = plan.x;
    let y = plan.y;
    const [wide, deep] = RACK_M;
    const lost = x.flatMap((value, i) => (value === null || y[i] === null ? [i] : []));
    if (lost.length < n / 2 && lost.length) {
      const known = (values) => values.filter((_, i) => !lost.includes(i));
      const [left, low] = [Math.min(...known(x)), Math.min(...known(y))];
      [x, y] = [[...x], [...y]];
      lost.forEach((i, k) => ([x[i], y[i]] = [left + k * 1.2 * wide, low - 1.5 * deep])); // the rest stand in a line of their own
    } else if (lost.length) {
      const columns = Math.max(1, Math.ceil(Math.sqrt((n * w) / h / 1.6)));
      x = plan.ids.map((_, i) => (i % columns) * 0.7);
      y = plan.ids.map((_, i) => -Math.floor(i / columns) * 1.4);
    }
    const ways = [laid(x, y, wide, deep, w, h), laid(y.map((value) => -value), x, deep, wide, w, h)];
    return ways[0].size >= ways[1].size ? ways[0].boxes : ways[1].boxes;
  }

  const span = (values) => Math.max(...values) - Math.min(...values);

  // The smallest distance between different values: the pitch of racks in a row, or of rows. No racks overlap in it.
  function pitch(values, least) {
    const sorted = [...new Set(values.map((value) => Math.round(value * 100) / 100))].sort((a, b) => a - b);
    const gaps = sorted.slice(1).map((value, i) => value - sorted[i]).filter((gap) => gap >= least);
    return gaps.length ? Math.min(...gaps) : least;
  }

  function laid(x, y, wide, deep, w, h) {
    [wide, deep] = [Math.max(wide, 0.9 * pitch(x, wide)), Math.max(deep, 0.8 * pitch(y, deep))];
    const [left, top] = [Math.min(...x), Math.max(...y)];
    const fit = [w / (span(x) + wide), h / (span(y) + deep)];
    const scale = fit.map((value) => Math.min(value, 3.5 * Math.min(...fit), 90));
    const pad = [(w - scale[0] * (span(x) + wide)) / 2, (h - scale[1] * (span(y) + deep)) / 2];
    const boxes = x.map((_, i) => [
      pad[0] + (x[i] - left) * scale[0], pad[1] + (top - y[i]) * scale[1], wide * scale[0], deep * scale[1],
    ]);
    return { boxes, size: Math.min(wide * scale[0], deep * scale[1]) };
  }

  let drawn = null; // what the boxes on the screen were placed for

  function hall(plan, values, kind, say) {
    const box = document.getElementById("hall");
    const [w, h] = [box.clientWidth, box.clientHeight];
    if (!w || !h) return;
    if (!plan.ids.length) {
      drawn = null;
      box.replaceChildren(Object.assign(document.createElement("span"), { className: "empty-text", textContent: say("No rack in this site") }));
      return;
    }
    if (!drawn || drawn.plan !== plan || drawn.w !== w || drawn.h !== h) drawn = place(box, plan, w, h);
    values[kind].forEach((value, i) => {
      const [rect, text, title] = drawn.boxes[i];
      const said = value === null ? "–" : String(value);
      if (text && text.textContent !== said) text.textContent = said;
      rect.setAttribute("fill", value === null ? "url(#silent)" : colour(kind, value));
      rect.setAttribute("class", value === null ? "rack silent" : "rack");
      if (text) text.setAttribute("class", value !== null && value >= STOPS[kind][3][0] - 5 ? "ink dark" : "ink");
      title.textContent = `${plan.ids[i]}: ${[values.temp[i], values.load[i]]
        .map((v, k) => (v === null ? say("silent") : `${v} ${k ? "%" : "°C"}`)).join(", ")}`;
    });
    scale(kind);
  }

  function place(box, plan, w, h) {
    const hatch = svg("pattern", { id: "silent", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 7, height: 7, fill: "#0b1117" }), svg("rect", { width: 2, height: 7, fill: "#46525e" }));
    const canvas = svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img" }, svg("defs", {}, hatch));
    const boxes = places(plan, w, h).map(([x, y, wide, deep]) => {
      const title = svg("title");
      const rect = svg("rect", { x: x + 1, y: y + 1, width: Math.max(wide - 2, 1), height: Math.max(deep - 2, 1), rx: 2 }, title);
      canvas.append(rect);
      const size = Math.min(wide * 0.52, deep * 0.6, 22);
      const text = size >= 9 ? svg("text", { x: x + wide / 2, y: y + deep / 2, "font-size": size.toFixed(1) }) : null;
      if (text) canvas.append(text);
      return [rect, text, title];
    });
    box.replaceChildren(canvas);
    return { plan, w, h, boxes };
  }

  function scale(kind) {
    const bar = document.getElementById("scale");
    if (bar.dataset.kind === kind) return;
    bar.dataset.kind = kind;
    const [low, high] = [TICKS[kind][0], TICKS[kind][TICKS[kind].length - 1]];
    const steps = Array.from({ length: 25 }, (_, i) => colour(kind, low + ((high - low) * i) / 24));
    const ramp = Object.assign(document.createElement("span"), { className: "ramp" });
    ramp.style.background = `linear-gradient(to right, ${steps.join(",")})`;
    const label = (value) => Object.assign(document.createElement("span"), { textContent: value });
    bar.replaceChildren(label(`${low}`), ramp, label(`${high} ${UNIT[kind]}`));
  }

  // --- the way of the power -------------------------------------------------------------------------------------------

  function cellText(cell, size, attributes) {
    const text = svg("text", { ...attributes, class: `value ${cell.f} ${cell.o || ""}`, "font-size": size }, (cell.o ? "≈" : "") + cell.n);
    if (cell.u) text.append(svg("tspan", { class: "unit", dx: size * 0.2, "font-size": size * 0.6 }, cell.u));
    return text;
  }

  // Measured where it is fresh, modelled where only that is, else whatever is left, grey with its age.
  function chosen(stage) {
    if (stage.measured.f === "ok" || stage.modelled.f === "none") return stage.measured;
    return stage.modelled.f === "ok" || stage.measured.f === "none" ? stage.modelled : stage.measured;
  }

  function label(stage, name, x, y, rem, anchor, say) {
    const cell = chosen(stage);
    const group = svg("g", { "text-anchor": anchor });
    group.append(svg("text", { x, y: y - 1.75 * rem, class: "name", "font-size": 1.05 * rem }, say(name)));
    group.append(cellText(cell, 1.75 * rem, { x, y }));
    const both = stage.measured.f === "ok" && stage.modelled.f === "ok";
    const under = cell.a || (both ? `${say("model")} ${stage.modelled.n}${stage.modelled.u ? " " + stage.modelled.u : ""}` : cell.f === "none" ? "" : say(cell.o ? "modelled" : "measured"));
    group.append(svg("text", { x, y: y + 1.25 * rem, class: "below", "font-size": 0.92 * rem }, under));
    return group;
  }

  function ribbon(x0, y0, x1, y1, thick, cls) {
    const middle = (x0 + x1) / 2;
    const d = `M${x0},${y0} C${middle},${y0} ${middle},${y1} ${x1},${y1} V${y1 + thick} C${middle},${y1 + thick} ${middle},${y0 + thick} ${x0},${y0 + thick} Z`;
    return svg("path", { d, class: `ribbon ${cls}` });
  }

  function flow(stages, say) {
    const box = document.getElementById("flow");
    const [w, h] = [box.clientWidth, box.clientHeight];
    if (!w || !h || !stages) return;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const canvas = svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, role: "img" });
    const out = [["it", "IT"], ["cooling", "Cooling"], ["loss", "Losses"]];
    const chain = [["transformer", "Transformer"], ["ups", "UPS"]].filter(([key]) => stages[key].measured.f !== "none" || stages[key].modelled.f !== "none");
    const tall = h - chain.length * 2 * rem - (chain.length ? 0.8 * rem : 0);
    const widths = out.map(([key]) => stages[key].width_w);
    const total = widths.reduce((sum, value) => sum + (value || 0), 0);
    const [x0, x1] = [8.2 * rem, w - 8.6 * rem];
    const room = tall * 0.62;
    let from = (tall - room) / 2;
    const rows = [0.24, 0.61, 0.9].map((share) => share * tall);
    out.forEach(([key, name], i) => {
      const known = total > 0 && widths[i] !== null;
      const thick = known ? Math.max((room * widths[i]) / total, 2) : 2;
      const to = Math.max(Math.min(rows[i] - 0.6 * rem - thick / 2, tall - thick), 0);
      canvas.append(ribbon(x0, from, x1, to, thick, `${key} ${chosen(stages[key]).o || ""} ${known ? "" : "unknown"}`));
      from += known ? thick : 6;
      canvas.append(label(stages[key], name, x1 + 0.8 * rem, rows[i], rem, "start", say));
    });
    canvas.append(label(stages.grid, "Grid", x0 - 0.8 * rem, tall / 2 + 0.5 * rem, rem, "end", say));
    chain.forEach(([key, name], i) => {
      const y = tall + 0.8 * rem + (i + 0.75) * 2 * rem;
      canvas.append(svg("line", { x1: 0, x2: w, y1: y - 1.4 * rem, y2: y - 1.4 * rem, class: "rule" }));
      canvas.append(svg("text", { x: 0, y, class: "name", "font-size": 1.05 * rem }, say(name)));
      canvas.append(cellText(chosen(stages[key]), 1.25 * rem, { x: w * 0.56, y, "text-anchor": "end" }));
      const loss = cellText(stages[key].loss, 1.25 * rem, { x: w, y, "text-anchor": "end" });
      if (stages[key].loss.f !== "none") {
        canvas.append(svg("text", { x: w - 6.2 * rem, y, class: "below", "text-anchor": "end", "font-size": 0.95 * rem }, say("loss")));
        canvas.append(loss);
      }
    });
    box.replaceChildren(canvas);
  }

  window.icctwinDraw = { hall, flow };
})();
