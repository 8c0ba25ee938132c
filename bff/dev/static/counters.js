// Prometheus' text format, read every two seconds while somebody looks, as a table of what moved.

import { byId, el } from "./dom.js";

const EVERY = 2000;
// Name, title, and which series stands for the whole: one of them, all added up (SUM), or none where a sum says nothing.
const SUM = Symbol("sum");
const METRICS = [
  ["bff_logins_total", "Logins", "success"],
  ["bff_sessions_created_total", "Sessions created", SUM],
  ["bff_sessions_destroyed_total", "Sessions ended", SUM],
  ["bff_verify_duration_seconds_count", "Requests verified", SUM],
  ["bff_session_cache_total", "Session cache", null],
  ["bff_csrf_violations_total", "CSRF violations", SUM],
  ["bff_authz_requests_total", "Policy decisions", SUM],
  ["bff_upstream_requests_total", "Calls to services", SUM],
  ["bff_token_exchange_total", "Calls for tokens", SUM],
  ["bff_token_refresh_total", "Tokens refreshed", "user · success"],
  ["bff_public_metrics_total", "SPA events", SUM],
  ["bff_public_web_vitals_count", "Web vitals", null],
  ["bff_public_metrics_rejected_total", "SPA reports refused", SUM],
];
const QUERY = METRICS.map(([name]) => `name[]=${name}`).join("&");
const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

const STORED = "counters when this tab was opened";

let first = stored();
let last = null;
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

/** Readings by metric and series, {name: {series: value}}; a series is its label values, "" without labels. */
function parse(text) {
  const found = Object.fromEntries(METRICS.map(([name]) => [name, {}]));
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (!found[name]) continue;
    const series = [...labels.matchAll(LABEL)].map((label) => label[2]).join(" · ");
    found[name][series] = Number(value);
  }
  return found;
}

function update(found) {
  if (!first) sessionStorage.setItem(STORED, JSON.stringify((first = found)));
  byId("counters").replaceChildren(...METRICS.map((metric) => block(metric, found)));
  last = found;
}

function block([name, title, whole], found) {
  const head = whole === null ? el("div", {}, el("h3", {}, title)) : row(el("h3", {}, title), name, whole, found);
  // Series that are known but never counted anything would only hide those that did.
  const labelled = Object.keys(found[name]).filter((series) => series && found[name][series] > 0).sort();
  const rows = labelled.map((series) => row(el("span", {}, series), name, series, found));
  rows.forEach((one, at) => {
    one.classList.add("series");
    one.dataset.series = labelled[at];
  });
  return el("section", { class: "counter", "data-metric": name }, head, el("code", { class: "name" }, name), ...rows);
}

function row(head, name, series, found) {
  const value = amount(found, name, series);
  const bumped = last && value > amount(last, name, series);
  const then = amount(first, name, series);
  const gained = then > value ? value : value - then; // it fell: the BFF began again, from zero
  return el(
    "div",
    { class: bumped ? "row bumped" : "row" },
    head,
    el("span", { class: "delta" }, gained ? `+${gained}` : ""),
    el("span", { class: "value" }, String(value)),
  );
}

function amount(reading, name, series) {
  const values = reading[name] ?? {};
  return series === SUM ? Object.values(values).reduce((sum, value) => sum + value, 0) : (values[series] ?? 0);
}

/** Logging in leaves this page and comes back, so what was read first has to outlive it. */
function stored() {
  return JSON.parse(sessionStorage.getItem(STORED));
}

function say(text, state) {
  byId("live").textContent = text;
  byId("live").className = `live ${state}`;
}
