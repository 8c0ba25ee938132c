// Prometheus' text format, read every two seconds while somebody looks, as a table of what moved.

import { byId, el } from "./dom.js";

const EVERY = 2000;
const METRICS = [
  ["bff_logins_total", "Logins"],
  ["bff_sessions_created_total", "Sessions created"],
  ["bff_sessions_destroyed_total", "Sessions ended"],
  ["bff_verify_duration_seconds_count", "Requests verified"],
  ["bff_session_cache_total", "Session cache"],
  ["bff_csrf_violations_total", "CSRF violations"],
  ["bff_token_exchange_total", "Calls to the token endpoint"],
];
const QUERY = METRICS.map(([name]) => `name[]=${name}`).join("&");
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

let first = null;
let last = new Map();
let reading = null;

/** Read now; a reading that is under way counts. */
export function read() {
  reading ??= once().finally(() => (reading = null));
  return reading;
}

export function watch() {
  setInterval(() => document.visibilityState === "visible" && read(), EVERY);
  document.addEventListener("visibilitychange", () =>
    document.visibilityState === "visible" ? read() : say("paused", ""),
  );
  return read();
}

async function once() {
  try {
    const answer = await fetch(`/metrics?${QUERY}`, { headers: { Accept: "text/plain" }, cache: "no-store" });
    if (!answer.ok) return say(`closed (${answer.status})`, "off");
    update(parse(await answer.text()));
    return say("live", "on");
  } catch {
    return say("no answer", "off");
  }
}

/** Map of metric name to Map of series to value; a series is its label values, "" without labels. */
function parse(text) {
  const found = new Map(METRICS.map(([name]) => [name, new Map()]));
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (!found.has(name)) continue;
    const series = [...labels.matchAll(LABEL)].map((label) => label[2]).join(" · ");
    found.get(name).set(series, Number(value));
  }
  return found;
}

function update(found) {
  first ??= found;
  byId("counters").replaceChildren(...METRICS.map(([name, title]) => block(name, title, found.get(name))));
  last = found;
}

function block(name, title, series) {
  const whole = row(el("h3", {}, title), name, null);
  const labelled = [...series.keys()].filter(Boolean).sort();
  const rows = labelled.map((labels) => {
    const one = row(el("span", {}, labels), name, labels);
    one.classList.add("series");
    one.dataset.series = labels;
    return one;
  });
  const block = el("section", { class: "counter", "data-metric": name }, whole, el("code", { class: "name" }, name), ...rows);
  return block;

  function row(head, metric, labels) {
    const value = amount(series, labels);
    const gained = value - baseline(metric, labels, value);
    const delta = el("span", { class: "delta" }, gained > 0 ? `+${gained}` : "");
    const bumped = value > amount(last.get(metric) ?? series, labels);
    return el("div", { class: bumped ? "row bumped" : "row" }, head, el("span", { class: "value" }, String(value)), delta);
  }
}

function amount(series, labels) {
  if (labels !== null) return series.get(labels) ?? 0;
  return [...series.values()].reduce((sum, value) => sum + value, 0);
}

/** What it was when the page was opened; 0 after the BFF itself began again. */
function baseline(metric, labels, now) {
  const then = amount(first.get(metric), labels);
  return then > now ? 0 : then;
}

function say(text, state) {
  byId("live").textContent = text;
  byId("live").className = `live ${state}`;
}
