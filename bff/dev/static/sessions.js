// The user's own sessions, and a button to take each back. Asking is a use of the session, so nobody asks unasked.

import * as bff from "/static/bff.js";
import { byId, el, notify } from "./dom.js";

export async function look() {
  try {
    const { sessions, more } = await bff.sessions();
    byId("sessions-list").replaceChildren(...sessions.map(row));
    byId("sessions-more").hidden = !more;
  } catch ({ status }) {
    byId("sessions-list").replaceChildren();
    if (status !== 401) notify(status ? `The BFF is in trouble (${status}).` : "The BFF does not answer.");
  }
}

/** A press somewhere in the list. */
export async function press({ target }) {
  const { id, current } = target.closest("button")?.dataset ?? {};
  if (!id) return;
  try {
    await bff.revoke(id);
  } catch ({ status, problem }) {
    return notify(status ? `That did not work (${status}). ${problem?.title ?? ""}` : "The BFF does not answer.");
  }
  if (current === "true") return byId("sessions-list").replaceChildren();
  return look();
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
