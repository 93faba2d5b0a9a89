// The reports: a table with a link to each file, the figures of the newest, and a form that asks for one.
import { formatTime, languageNow, onRedraw, say } from "./shell.js";
import { ask, make, send, told } from "./dig.js";

const AGAIN_MS = 5000;
const LANGUAGES = ["en", "zh"];
const SPOKEN = ["html", "pdf", "xlsx"]; // formats whose words are in a language, which their names say but for English
const at = (id) => document.getElementById(id);
const form = at("ask");
const wanted = new URLSearchParams(location.search).get("report");
let found = null;
let timer = 0;

const address = (one, kind, lang) => `/api/v1/reports/${encodeURIComponent(one.id)}/${kind}${lang ? `?lang=${lang}` : ""}`;

function links(one) {
  const kinds = [...new Set(Object.keys(one.files).map((name) => name.split(".").pop()))];
  const here = languageNow() === "zh" ? "zh" : "en";
  return kinds.sort().flatMap((kind) => {
    const mine = SPOKEN.includes(kind) ? Object.keys(one.files).filter((name) => name.endsWith(`.${kind}`)) : [];
    const named = mine.map((name) => name.split(".").at(-2)).map((lang) => (LANGUAGES.includes(lang) ? lang : ""));
    const tongues = mine.length > 1 || named[0] ? LANGUAGES.filter((lang) => named.includes(lang) || (lang === "en" && named.includes(""))) : [];
    const shown = tongues.length ? [...tongues.filter((lang) => lang === here), ...tongues.filter((lang) => lang !== here)] : [""];
    return shown.flatMap((lang) => {
      const text = `${kind.toUpperCase()}${lang ? ` ${lang === "zh" ? "中文" : "EN"}` : ""}`;
      const kept = (label, name) => make("a", label, { href: address(one, kind, lang), download: "", className: "file", ariaLabel: name });
      if (kind !== "html") return [kept(text, `${one.id} ${text}`)];
      const read = make("a", text, { href: `${address(one, kind, lang)}${lang ? "&" : "?"}inline=true`, className: "file", ariaLabel: `${one.id} ${text}` });
      return [read, kept(say("download"), `${one.id} ${text}: ${say("download")}`)];
    });
  });
}

function scopeText(scope) {
  if (scope === "centre") return say("the whole centre");
  const [kind, ...name] = scope.split(":");
  return `${say(kind)} ${name.join(":")}`;
}

function stateOf(one) {
  if (one.stage === "made") return one.why ? `${say("made")}; ${one.why}` : say("made");
  if (one.stage === "empty") return say("nothing was read in that span");
  return one.why ? `${say(one.stage)}: ${one.why}` : say(one.stage);
}

function row(one) {
  const cells = [make("th", one.span, { scope: "row" }), make("td", scopeText(one.scope)),
    make("td", stateOf(one), { className: one.stage }), make("td", formatTime(Date.parse(one.at) / 1000, "stamp")),
    make("td", one.by), make("td", null, { children: links(one) })];
  return make("tr", null, { children: cells, className: one.id === wanted ? "wanted" : "" });
}

function newest(one) {
  const tiles = one.shown.map((figure) =>
    make("div", null, { className: "tile", children: [make("span", say(figure.label), { className: "label" }), make("span", languageNow() === "zh" ? figure.zh : figure.en, { className: "figure" })] }));
  return [make("h2", `${one.span} · ${scopeText(one.scope)}`), make("div", null, { className: "tiles", children: tiles }), make("p", null, { children: links(one) })];
}

function show() {
  if (!found) return;
  const made = found.reports.filter((one) => one.stage === "made");
  const first = made.find((one) => one.id === wanted) || made[0];
  at("newest").hidden = !first;
  at("newest").replaceChildren(...(first ? newest(first) : []));
  at("scopes").replaceChildren(...[...new Set(["centre", ...found.scopes.filter((one) => one.includes(":")), ...found.reports.map((one) => one.scope)])].map((one) => make("option", null, { value: one })));
  if (!found.reports.length) {
    at("reports").replaceChildren(make("p", say("No report was made yet: weekly ones come on Monday morning")));
    return;
  }
  const heads = ["span", "part of the centre", "state", "made", "by", "files"].map((head) => make("th", say(head), { scope: "col" }));
  at("reports").replaceChildren(make("table", null, { children: [make("thead", null, { children: [make("tr", null, { children: heads })] }), make("tbody", null, { children: found.reports.map(row) })] }));
}

async function read() {
  clearTimeout(timer);
  try {
    found = await ask("/api/v1/reports", { limit: 200 });
    show();
    if (found.reports.some((one) => one.stage === "asked")) timer = setTimeout(read, AGAIN_MS);
  } catch (error) { told(error); }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await send("POST", "/api/v1/reports", { span: form.elements.span.value.trim(), scope: form.elements.scope.value.trim() || "centre" });
    told(say("Asked: it is here within a minute or two"));
    await read();
  } catch (error) { told(error); }
});

onRedraw(show);
await read();
