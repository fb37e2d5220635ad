"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const specs = JSON.parse(one("#specs").textContent);
const views = {};
const chosen = new Set();
const picker = one("#place");

// Colours are variables of the style, so that dark mode and print need no drawing anew.
const config = {
  background: "transparent",
  font: getComputedStyle(document.body).fontFamily,
  view: { stroke: null },
  axis: {
    labelColor: "var(--muted)", titleColor: "var(--muted)", titleFontWeight: "normal",
    domainColor: "var(--line)", tickColor: "var(--line)", gridColor: "var(--line)", gridOpacity: 0.7,
    labelFontSize: 12, titleFontSize: 12, labelOverlap: true,
  },
  axisX: { tickCount: 6 },
  axisY: { titleAlign: "left", titleAngle: 0, titleAnchor: "end", titleY: -8, titleX: 0 },
  legend: { labelColor: "var(--muted)", labelFontSize: 12, symbolStrokeWidth: 0, rowPadding: 2, symbolType: "square", symbolFillColor: "var(--muted)" },
  text: { color: "var(--ink)" },
};

const only = one("#table tbody:not([hidden])");

function place() {
  return picker ? picker.value : only ? only.dataset.place : "";
}

function series() {
  return place().split("|").slice(0, 2).join("|");
}

async function draw(name) {
  const spec = structuredClone(specs[name]);
  const button = one(`[data-scale="${name}"]`);
  if (button && button.getAttribute("aria-pressed") === "true") logarithmic(spec);
  const result = await window.vegaEmbed(one(`[data-plot="${name}"]`), spec, {
    mode: "vega-lite", renderer: "svg", actions: false, config,
    tooltip: { theme: "page" }, logLevel: 1,
  });
  if (views[name]) views[name].finalize();
  views[name] = result.view;
  result.view.addEventListener("click", (_, item) => {
    const version = item && item.datum && item.datum.version;
    if (version) toggle(version);
  });
  await signal(name);
}

function logarithmic(spec) {
  for (const layer of spec.layer || [spec]) {
    const y = layer.encoding && layer.encoding.y;
    if (y) y.scale = { type: "log" };
  }
}

function signal(name) {
  return views[name].signal("place", place()).signal("series", series())
    .signal("chosen", [...chosen]).runAsync();
}

async function show() {
  const at = place();
  for (const body of all("#table tbody")) {
    const here = body.dataset.place === at && matches(body);
    body.hidden = !here;
    body.classList.toggle("pale", chosen.size > 0 && !chosen.has(body.dataset.version));
    one("input", body).checked = chosen.has(body.dataset.version);
  }
  for (const button of all(".legend [data-version]")) {
    button.setAttribute("aria-pressed", String(chosen.has(button.dataset.version)));
  }
  for (const button of all(".legend .all")) button.hidden = chosen.size === 0;
  await Promise.all(Object.keys(views).map(signal));
  document.documentElement.dataset.shown = [place(), ...chosen].join(" ");
}

function matches(body) {
  const words = one("#filter").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const text = one("tr", body).textContent.toLowerCase();
  return words.every((word) => text.includes(word));
}

function toggle(version) {
  if (!chosen.delete(version)) chosen.add(version);
  show();
}

function sort(header, column) {
  const up = header.getAttribute("aria-sort") !== "ascending";
  all("#table thead th").forEach((th) => th.setAttribute("aria-sort", "none"));
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const value = (body) => {
    const field = one("tr", body).children[column];
    const sorted = field.dataset.sort || "";
    return sorted === "" ? null : Number(sorted);
  };
  const text = (body) => one("tr", body).children[column].textContent.trim();
  const order = all("#table tbody").sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null && y === null) return (up ? 1 : -1) * text(a).localeCompare(text(b));
    if (x === null || y === null) return x === null ? 1 : -1;
    return (up ? 1 : -1) * (x - y);
  });
  one("#table").append(...order);
}

function fields(row) {
  return [...row.children].map((cell) => {
    const name = one(".name", cell);
    const clone = cell.cloneNode(true);
    all("button.explain, input, i", clone).forEach((node) => node.remove());
    const parts = all("small", clone).map((node) => { node.remove(); return node.textContent.trim(); });
    const main = (name ? name.textContent : clone.textContent).trim();
    return [main, ...parts.filter(Boolean).map((part) => `(${part})`)].join(" ").trim();
  });
}

function copied(form) {
  const rows = [one("#table thead tr"), ...all("#table tbody:not([hidden]) tr:first-child")].map(fields);
  if (form === "csv") {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    return rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  }
  const lines = rows.map((row) => `| ${row.map((text) => text.replaceAll("|", "\\|")).join(" | ")} |`);
  lines.splice(1, 0, `|${" --- |".repeat(rows[0].length)}`);
  return lines.join("\n") + "\n";
}

async function copy(form) {
  const text = copied(form);
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  one("#copied").value = "Copied";
  setTimeout(() => { one("#copied").value = ""; }, 2000);
}

all("#table thead th").forEach((th, n) => one("button", th).addEventListener("click", () => sort(th, n)));
all(".explain").forEach((button) => button.addEventListener("click", () => {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  one(`#${button.getAttribute("aria-controls")}`).hidden = !open;
}));
all("#table tbody input").forEach((box) => box.addEventListener("change", () => toggle(box.value)));
all(".legend [data-version]").forEach((button) => button.addEventListener("click", () => toggle(button.dataset.version)));
all(".legend .all").forEach((button) => button.addEventListener("click", () => { chosen.clear(); show(); }));
all("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button.dataset.copy)));
all("[data-scale]").forEach((button) => button.addEventListener("click", async () => {
  button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
  await draw(button.dataset.scale);
}));
one("#filter").addEventListener("input", show);
if (picker) picker.addEventListener("change", show);
window.addEventListener("beforeprint", () => Object.values(views).forEach((view) => view.resize().run()));

await Promise.all(Object.keys(specs).map(draw));
await show();
document.documentElement.dataset.ready = "yes";
