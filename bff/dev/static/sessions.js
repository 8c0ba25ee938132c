// The user's own sessions, and a button to take each back. Asking is a use of the session, so nobody asks unasked.

import * as bff from "/static/bff.js";
import { byId, el, notify } from "./dom.js";

export async function look() {
  const { sessions = [], more = false } = (await call("GET", "/auth/sessions")) ?? {};
  byId("sessions-list").replaceChildren(...sessions.map(row));
  byId("sessions-more").hidden = !more;
}

/** A press somewhere in the list. */
export async function press({ target }) {
  const { id, current } = target.closest("button")?.dataset ?? {};
  if (!id || !(await call("DELETE", `/auth/sessions/${encodeURIComponent(id)}`))) return;
  if (current === "true") byId("sessions-list").replaceChildren();
  else await look();
}

/** What the BFF answers; undefined when it refuses, and then the page says why, unless nobody is logged in. */
async function call(method, path) {
  const answer = await bff.fetch(path, { method }).catch(() => null);
  if (answer?.ok) return answer.status === 204 ? {} : answer.json();
  const problem = await answer?.json().catch(() => ({}));
  if (answer?.status !== 401) notify(answer ? `That did not work (${answer.status}). ${problem.title ?? ""}` : "The BFF does not answer.");
}

function row({ id, device, network, since, last_seen, idp, current }) {
  const name = el("b", {}, device || "Unknown device");
  const end = el("button", { class: "button lesser", type: "button", "data-id": id, "data-current": current }, current ? "Log out" : "Revoke");
  end.setAttribute("aria-label", `${current ? "End this session" : "Revoke"}: ${device || "unknown device"}`);
  return el(
    "li",
    current ? { class: "current" } : {},
    el(
      "div",
      {},
      el("p", {}, name, ...(current ? [" ", el("span", { class: "chip" }, "this one")] : [])),
      el("p", { class: "quiet small" }, `${network || "unknown network"} · by ${idp} · since ${clock(since)}`),
    ),
    el("p", { class: "seen quiet small" }, current ? "in use" : `seen ${ago(last_seen)}`),
    end,
  );
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

function ago(seconds) {
  const minutes = Math.max(0, Math.round((Date.now() / 1000 - seconds) / 60));
  if (minutes < 1) return "just now";
  return minutes < 60 ? `${minutes} min ago` : `${Math.round(minutes / 60)} h ago`;
}
