// One's own password, tokens and sessions; for whoever administers, the users.
import { say } from "./shell.js";
import { ask, make, send, stamp, told } from "./dig.js";

const BASE = "/api/v1/access";
const at = (id) => document.getElementById(id);
const quiet = (text) => make("span", text, { className: "quiet" });
const entry = (...parts) => make("div", null, { className: "entry", children: parts.filter(Boolean) });
const list = (id, rows) => at(id).replaceChildren(...(rows.length ? rows : [quiet(say("nothing yet"))]));
const time = (text) => quiet(stamp(Date.parse(text) / 1000));
const button = (text, run) => make("button", text, { type: "button", onclick: () => run().then(show).catch(told) });
let me = null;

const token = (one) => entry(make("span", one.name, { className: "text" }), quiet(`${one.owner} · ${say(one.role)} · ${one.scopes.join(", ")}`), time(one.end), button(say("remove"), () => send("DELETE", `${BASE}/tokens/${one.id}`)));
const session = (one) => entry(make("span", `${one.source} ${one.agent.slice(0, 60)}`, { className: "text" }), time(one.seen), one.here ? quiet(say("this one")) : button(say("remove"), () => send("DELETE", `${BASE}/sessions/${one.id}`)));

function user(one) {
  const path = `${BASE}/users/${encodeURIComponent(one.user)}`;
  const role = make("select", null, { ariaLabel: `${one.name} ${say("Role")}`, children: ["viewer", "operator", "engineer", "admin"].map((name) => make("option", say(name), { value: name, selected: name === one.role })) });
  role.addEventListener("change", () => send("PATCH", path, { role: role.value }).then(show).catch((error) => { told(error); show(); }));
  const active = make("input", null, { type: "checkbox", checked: one.active, ariaLabel: `${one.name} ${say("active")}` });
  active.addEventListener("change", () => send("PATCH", path, { active: active.checked }).then(show).catch((error) => { told(error); show(); }));
  return entry(make("span", one.name, { className: "text" }), role, make("label", null, { children: [active, document.createTextNode(` ${say("active")}`)] }), button(say("remove"), () => send("DELETE", path)));
}

async function show() {
  me = await ask(`${BASE}/me`);
  at("me").textContent = me.mode === "accounts" ? `${me.name} (${say(me.role)})` : say("Nobody signs in here.");
  if (me.mode !== "accounts") return void document.querySelectorAll("section.panel").forEach((part) => (part.hidden = true));
  list("tokens", (await ask(`${BASE}/tokens`)).map(token));
  list("sessions", (await ask(`${BASE}/sessions`)).map(session));
  at("people").hidden = me.role !== "admin";
  if (me.role === "admin") list("users", (await ask(`${BASE}/users`)).map(user));
}

function submits(id, run) {
  at(id).addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await run(event.target.elements);
      event.target.reset();
      told("");
      await show();
    } catch (error) { told(error); }
  });
}

submits("password", (form) => send("POST", `${BASE}/password`, { old: form.old.value, new: form.new.value }));
submits("user", (form) => send("POST", `${BASE}/users`, { name: form.name.value, password: form.password.value, role: form.role.value }));
submits("token", async (form) => {
  const scopes = [...form.scopes.selectedOptions].map((option) => option.value);
  const made = await send("POST", `${BASE}/tokens`, { name: form.name.value, role: form.role.value, scopes: scopes.length ? scopes : ["look"], days: Number(form.days.value), kiosk: form.kiosk.checked });
  at("made").hidden = false;
  at("made").querySelector("code").textContent = made.token;
});
await show().catch(told);
