// The time slider: left of now the past as the store has it, right of it what is foreseen; and what-if runs beside the present.
import { by } from "./scene-panel.js";
import { formatTime, say } from "./shell.js";

const WAIT_MS = 150, PLAY_MS = 700;
const STEP_MIN = { 1: 1, 24: 10, 168: 60 }; // hours that the slider spans -> minutes of a step of play

// A time (s since 1970) as the server takes it.
export const stamp = (time_s) => new Date(Math.round(time_s) * 1000).toISOString();

export class Timeline {
  constructor(changed) {
    this.changed = changed; // (minutes from now, 0 is live)
    this.slider = by("scene-slider");
    this.span = by("scene-span");
    this.minutes = 0;
    this.run = null;
    this.slider.addEventListener("input", () => this.set(this.snapped(Number(this.slider.value))));
    this.span.addEventListener("change", () => this.scale());
    by("scene-now").addEventListener("click", () => this.set(0));
    by("scene-play").addEventListener("click", () => this.play(!this.playing));
    this.scale();
  }

  // Minutes from now that a scenario's run lasts: the slider then moves in it; null: in the past and the forecast.
  within(minutes) {
    this.run = minutes;
    this.span.disabled = minutes !== null;
    this.scale();
  }

  scale() {
    const hours = this.run === null ? Number(this.span.value) : 1;
    this.slider.min = this.run === null ? -60 * hours : 0;
    this.slider.max = this.run ?? (hours > 1 ? 1440 : 60);
    this.slider.step = hours > 24 ? 10 : 1;
    this.set(Math.max(Math.min(this.minutes, Number(this.slider.max)), Number(this.slider.min)));
  }

  snapped(minutes) {
    return Math.abs(minutes) < (Number(this.slider.max) - Number(this.slider.min)) / 150 ? 0 : minutes;
  }

  set(minutes) {
    this.minutes = minutes;
    this.slider.value = minutes;
    if (minutes < Number(this.slider.min)) {
      this.span.value = "168";
      this.scale();
    }
    this.tell();
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.changed(minutes), minutes === 0 ? 0 : WAIT_MS);
  }

  // Minutes of the pictures that are likely to be asked for next: the film's next, or the neighbours of this one.
  around() {
    const step = this.stepped();
    return [this.minutes + step, ...(this.playing ? [] : [this.minutes - step])].filter((minutes) => minutes < 0 && minutes >= Number(this.slider.min));
  }

  stepped() {
    return this.run === null ? STEP_MIN[this.span.value] : 5;
  }

  play(on) {
    this.playing = on;
    clearInterval(this.timer);
    by("scene-play").setAttribute("aria-pressed", String(on));
    by("scene-play").textContent = on ? "❚❚" : "►";
    if (!on) return;
    if (this.minutes === 0) this.set(Number(this.slider.min));
    this.timer = setInterval(() => {
      const next = this.minutes + this.stepped();
      if (next > Number(this.slider.max)) return void this.play(false);
      this.set(next);
    }, PLAY_MS);
  }

  tell(shown = null, folded_s = 0) {
    const place = by("scene-when");
    const when = this.minutes === 0 ? say("now") : formatTime(shown ?? Date.now() / 1000 + 60 * this.minutes, "stamp");
    const how = this.minutes < 0 ? say("past") : this.minutes > 0 ? say(this.run === null ? "forecast" : "the scenario") : say("live");
    place.textContent = `${when} · ${how}${folded_s ? ` · ${say("a value every {n}", { n: folded_s >= 3600 ? `${Math.round(folded_s / 360) / 10} h` : `${Math.round(folded_s / 60)} min` })}` : ""}`;
    this.slider.setAttribute("aria-valuetext", place.textContent);
  }
}

// The choice of a scenario: runs it once and gives its number.
export class WhatIf {
  constructor(cases, changed, busy) {
    this.cases = cases;
    this.changed = changed; // (run or null, mode)
    this.busy = busy;
    this.run = null;
    this.select = by("scene-case");
    this.mode = by("scene-mode");
    this.select.append(new Option(say("the present only"), ""), ...Object.entries(cases).map(([name, { label }]) => new Option(say(label), name)));
    this.select.addEventListener("change", () => this.start(this.select.value));
    this.mode.addEventListener("change", () => this.changed(this.run, this.mode.value));
    this.mode.hidden = true;
  }

  // Run this case and show it in this mode; "" ends it.
  async start(name, mode = "") {
    this.select.value = name;
    if (mode) this.mode.value = mode;
    this.mode.hidden = !name;
    this.run = null;
    if (!name) return void this.changed(null, "off");
    this.busy(say("The twin runs {name} …", { name: say(this.cases[name].label) }));
    const body = JSON.stringify({ scenario: this.cases[name].scenario, hours: 6, step_s: 60 });
    const answer = await fetch("/api/v1/scene/runs", { method: "POST", headers: { "content-type": "application/json" }, body }).catch(() => null);
    const said = answer ? await answer.json().catch(() => ({})) : {};
    if (!answer?.ok) {
      this.select.value = "";
      this.mode.hidden = true;
      return void this.busy(said.detail || say("The server does not answer"));
    }
    this.run = said;
    this.busy("");
    this.changed(said, this.mode.value);
  }
}
