// A Dash app inside the shell follows the page's language and theme.
import { languageNow, onRedraw } from "./shell.js";

function follow() {
  const dash = window.dash_clientside;
  if (!dash || !dash.set_props || !document.querySelector("#dash .dash-inside")) return void setTimeout(follow, 100);
  dash.set_props("language", { data: languageNow() });
  dash.set_props("theme-now", { data: document.documentElement.dataset.theme });
}
onRedraw(follow);
new MutationObserver(follow).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-language"] });
follow();
