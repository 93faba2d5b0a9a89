// The choice of a series stands in the page, not in Dash: a native list, that every keyboard and reader knows.
import { drawn } from "./pages.js";

const list = document.getElementById("series");

drawn("options", (options) => {
  const chosen = list.value;
  list.replaceChildren(...options.map(([key, name]) => new Option(name, key, false, key === chosen)));
});
list.addEventListener("change", () => window.dash_clientside.set_props("series-now", { data: list.value }));
