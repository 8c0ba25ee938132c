// One HTTP request and its answer, sent for real and shown as they were.

import * as bff from "/static/bff.js";
import { el } from "./dom.js";

// What the BFF calls a request without a good CSRF token, as `code` and in X-Denied-Reason.
const CSRF_REASONS = ["missing_cookie", "missing_header", "mismatch", "bad_signature", "foreign_origin"];
const SHOWN_REQUEST_HEADERS = ["Content-Type", "X-CSRF-Token"];

/** Returns {request, status, headers, body, milliseconds}; status 0 when nobody answered. */
export async function send(method, path, { json, fetch = window.fetch } = {}) {
  const request = { method, path, headers: { Accept: "application/json" } };
  if (json !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(json);
  }
  const begun = performance.now();
  try {
    const answer = await fetch(path, { method, headers: request.headers, body: request.body, cache: "no-store" });
    const text = await answer.text();
    const milliseconds = performance.now() - begun;
    return { request, status: answer.status, headers: answer.headers, body: parsed(text), milliseconds };
  } catch {
    return { request, status: 0, headers: new Headers(), body: "The server did not answer.", milliseconds: 0 };
  }
}

/** A request that changes something, with the CSRF token that bff.js adds. */
export async function sendWithToken(method, path, json) {
  const exchange = await send(method, path, { json, fetch: bff.fetch });
  exchange.request.headers["X-CSRF-Token"] = "added by bff.js";
  return exchange;
}

/** Show it in `panel`; `wanted` are the names of the answer's headers worth a look. */
export function show(panel, { request, status, headers, body, milliseconds }, wanted) {
  const line = el(
    "div",
    { class: "line" },
    el("code", {}, `${request.method} ${request.path}`),
    el("span", { class: status >= 200 && status < 300 ? "status" : "status refused" }, String(status || "no answer")),
    el("span", { class: "took" }, `${Math.max(1, Math.round(milliseconds))} ms`),
  );
  const facts = el("dl", { class: "headers" });
  for (const name of SHOWN_REQUEST_HEADERS) add(facts, `→ ${name}`, shortened(request.headers[name]));
  if (request.body) add(facts, "→ body", request.body);
  for (const name of wanted) add(facts, `← ${name}`, headers.get(name));
  const why = refusal(status, headers, body);
  const parts = why ? [line, el("p", { class: "why" }, why)] : [line];
  if (facts.children.length) parts.push(facts);
  if (body !== "") parts.push(el("pre", {}, typeof body === "string" ? body : JSON.stringify(body, null, 2)));
  panel.replaceChildren(...parts);
  panel.dataset.status = status;
  panel.hidden = false;
}

/** Why a request was forbidden, and who says so; "" for every other answer, and for one that a service gave. */
function refusal(status, headers, body) {
  const reason = headers.get("X-Denied-Reason"); // the BFF's own: it lets no service set it
  if (status !== 403 || !reason) return "";
  if (reason === "deny") return `The policy says: ${body?.detail ?? "no, and gives no reason."}`;
  if (CSRF_REASONS.includes(reason)) return `The CSRF check says: ${body?.title}.`;
  return `The BFF says: ${body?.detail ?? body?.title}`;
}

function add(list, name, value) {
  if (value === null || value === undefined) return;
  list.append(el("dt", {}, name), el("dd", {}, value === "" ? "(empty)" : value));
}

function shortened(value) {
  return value && value.length > 40 ? `${value.slice(0, 18)}…` : value;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
