// The on-call page: asks the API every two seconds and shows what it says. Texts are put in as text, never as HTML.
import { formatTime, languageNow, onRedraw, say as t } from "./shell.js";

const at = new URLSearchParams(location.search);
const lang = languageNow();
const el = (id) => document.getElementById(id);
const make = (tag, text, name) => {
  const one = document.createElement(tag);
  if (text !== undefined && text !== null) one.textContent = text;
  if (name) one.className = name;
  return one;
};
const clock = (iso) => (iso ? formatTime(Date.parse(iso) / 1000, "stamp") : "–");
const ago = (s) => (s === null || s === undefined ? "–" : s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`);
const ask = async (path, how) => {
  const answer = await fetch(path, how);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.status);
  return body;
};
const headers = () => {
  const token = el("silence").token.value;
  return { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
};
const tell = (error) => { el("said").textContent = error ? String(error.message || error) : ""; };
const fill = (id, parts, empty) => {
  const box = el(id);
  box.replaceChildren(...(parts.length ? parts : [make("p", t(empty), "dim")]));
};

const take = async (incident) => {
  const by = el("silence").author.value || prompt(t("who"));
  if (!by) return;
  try {
    await ask(`/api/v1/oncall/incidents/${encodeURIComponent(incident)}/acknowledge`,
      { method: "POST", headers: headers(), body: JSON.stringify({ by }) });
    tell(""); look();
  } catch (error) { tell(error); }
};

const group = (one) => {
  const box = make("div", undefined, `group ${one.severity}`);
  box.append(make("b", one.text));
  if (one.folded) box.append(make("div", `${t("explains")} ${one.folded.toLocaleString()} ${t("further alerts")}`, "folded"));
  const labels = Object.values(one.labels).filter(Boolean).join(" · ");
  box.append(make("small", `${labels} — ${t("since")} ${clock(one.opened)} — ${one.count} / ${one.pages} ${t("pages")} — ${t("told")} ${one.channels.join(", ")}`));
  if (one.acknowledged) box.append(make("div", `${t("acknowledged by")} ${one.acknowledged_by} ${clock(one.acknowledged)} ${one.note}`, "dim"));
  else {
    const button = make("button", t("acknowledge"));
    button.type = "button";
    button.addEventListener("click", () => take(one.incident));
    box.append(make("div"), button);
  }
  const key = at.get("alert");
  if (key && one.alerts.includes(key)) {
    const picture = make("img");
    picture.alt = key;
    picture.src = `/api/v1/alerts/${encodeURIComponent(key)}/picture.png?lang=${lang}`;
    picture.addEventListener("error", () => picture.remove());
    box.append(picture);
  }
  return box;
};

const quiet = (one) => {
  const row = make("div", undefined, "row");
  row.append(make("span", `${one.matchers.join(" ")} — ${one.author}: ${one.reason} — ${t("until")} ${clock(one.end)} `));
  if (one.kind === "silence") {
    const button = make("button", t("end silence"));
    button.type = "button";
    button.addEventListener("click", async () => {
      const by = el("silence").author.value || prompt(t("who"));
      if (!by) return;
      try {
        await ask(`/api/v1/oncall/silences/${encodeURIComponent(one.id)}?by=${encodeURIComponent(by)}`, { method: "DELETE", headers: headers() });
        look();
      } catch (error) { tell(error); }
    });
    row.append(button);
  }
  return row;
};

const happened = (one) => make("div", `${clock(one.time)}  ${one.text}`, "row");

const report = (found) => {
  const parts = [make("p", `${t("time to acknowledge")} ${ago(found.times.mtta_s)} · ${t("time to resolve")} ${ago(found.times.mttr_s)}`)];
  for (const one of found.noise.slice(0, 8)) {
    parts.push(make("div", `${one.rule}: ${one.fired} ${t("times fired")}${one.proposal ? ` — ${one.proposal}` : ""}`, "row"));
  }
  return parts;
};

let looks = 0;
const look = async () => {
  try {
    const desk = await ask(`/api/v1/oncall?lang=${lang}`);
    fill("groups", desk.groups.map(group), "nothing is open");
    const duty = Object.entries(desk.duty).map(([name, one]) => `${name}: ${one.people.join(", ") || t("nobody")}`);
    el("duty").textContent = duty.length ? `${t("on duty")} ${duty.join(" · ")}` : "";
    const box = desk.delivery;
    el("delivery").textContent = [[box.pages_waiting_count, "pages wait"], [box.pages_dead_count, "pages were given up"]]
      .filter(([count]) => count).map(([count, text]) => `${count} ${t(text)}`).join(" · ");
    el("problems").replaceChildren(...desk.problems.map((one) => make("div", one)));
    if (looks++ % 5 === 0) {
      fill("silences", (await ask("/api/v1/oncall/silences")).filter((one) => one.active).map(quiet), "nothing is quiet");
      fill("timeline", (await ask(`/api/v1/oncall/timeline?days=1&limit=30&lang=${lang}`)).map(happened), "what happened");
      fill("report", report(await ask(`/api/v1/oncall/report?days=30&lang=${lang}`)), "");
    }
  } catch (error) { tell(error); }
};

el("silence").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = el("silence");
  const end = new Date(Date.now() + Number(form.hours.value) * 3600e3).toISOString();
  const body = { matchers: form.match.value.split(/\s+/).filter(Boolean), author: form.author.value, reason: form.reason.value, end };
  try {
    await ask("/api/v1/oncall/silences", { method: "POST", headers: headers(), body: JSON.stringify(body) });
    form.match.value = ""; tell(""); looks = 0; look();
  } catch (error) { tell(error); }
});
onRedraw(() => { looks = 0; look(); });
look();
setInterval(look, 2000);
