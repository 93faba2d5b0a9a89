// Pages one after the other: the next one is loaded a moment before its turn, those that are over are let go, so that a wall
// holds two pages at most. Space pauses, arrows turn. A page that is shown reconnects by itself.
const frames = document.getElementById("frames");
const everyMs = Number(frames.dataset.every) * 1000;
const split = Number(frames.dataset.split);
const pages = [...document.querySelectorAll("#pages a")].map((link) => ({ path: link.getAttribute("href"), title: link.textContent }));
const asked = new URLSearchParams(location.search);
const AHEAD_MS = Math.min(4000, everyMs / 2);
let at = 0;
let paused = false;
let due = 0;

function address(path) {
  const to = new URL(path, location.href);
  to.searchParams.set("bare", "1");
  for (const key of ["lang", "theme"]) if (asked.get(key)) to.searchParams.set(key, asked.get(key));
  return to.href;
}

function frame(i) {
  const page = pages[i % pages.length];
  let made = [...frames.querySelectorAll("iframe")].find((one) => one.dataset.at === String(i));
  if (!made) {
    made = Object.assign(document.createElement("iframe"), { src: address(page.path), title: page.title });
    made.dataset.at = i;
    frames.append(made);
  }
  return made;
}

const shown = () => Array.from({ length: Math.min(split, pages.length) }, (_, k) => at + k);

function show() {
  const now = shown();
  for (const i of now) frame(i).hidden = false;
  for (const one of frames.querySelectorAll("iframe")) if (!now.includes(Number(one.dataset.at))) one.remove();
  document.getElementById("at").textContent = now.map((i) => pages[i % pages.length].title).join(" · ");
  due = performance.now() + everyMs;
}

function turn(step) {
  at = (at + step * split + pages.length * split) % (pages.length * split);
  show();
}

function tick() {
  if (paused || pages.length <= split) return;
  const left = due - performance.now();
  if (left <= 0) turn(1);
  else if (left < AHEAD_MS) for (const i of shown()) frame((i + split) % (pages.length * split)).hidden ||= !shown().includes((i + split) % (pages.length * split));
}

function pause() {
  paused = !paused;
  document.body.classList.toggle("paused", paused);
  document.querySelector("[data-pause]").setAttribute("aria-pressed", String(paused));
  if (!paused) due = performance.now() + everyMs;
}

document.getElementById("pages").remove();
document.getElementById("turn").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.step) turn(Number(button.dataset.step));
  else if (button) pause();
});
addEventListener("keydown", (event) => {
  if (event.target.closest?.("button") && event.key === " ") return;
  if (event.key === " ") pause();
  if (event.key === "ArrowRight") turn(1);
  if (event.key === "ArrowLeft") turn(-1);
});
show();
setInterval(tick, 250);
