// Who is logged in, and the two clocks of the session, ticking here between one look at the server and the next.

import * as bff from "/static/bff.js";
import { byId, el, notify } from "./dom.js";

const LOOK_EVERY = 30_000;
const TICK_EVERY = 250; // so that no second is shown late

let session = { authenticated: false };
let readAt = 0;
let longestIdle = 1;
let troubled = false;

/** Look without touching the session, so that watching it does not keep it alive. */
export async function look() {
  try {
    session = await bff.session({ touch: false });
  } catch ({ status }) {
    troubled = true;
    return notify(status ? `The BFF is in trouble (${status}).` : "The BFF does not answer.");
  }
  if (troubled) notify();
  troubled = false;
  readAt = performance.now();
  render();
}

export function watch() {
  setInterval(tick, TICK_EVERY);
  setInterval(() => document.visibilityState === "visible" && look(), LOOK_EVERY);
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && look());
  return look();
}

function render() {
  byId("session").setAttribute("aria-busy", "false");
  byId("anonymous").hidden = session.authenticated;
  byId("authenticated").hidden = !session.authenticated;
  byId("sessions").hidden = !session.authenticated;
  document.title = session.authenticated ? `${session.user.name} · BFF demo` : "BFF demo";
  if (session.authenticated) renderPerson();
  renderReach();
}

function renderPerson() {
  const { user } = session;
  byId("user-name").textContent = user.name || user.sub;
  byId("user-email").textContent = user.email;
  byId("user-initials").textContent = initials(user.name || user.sub);
  byId("user-roles").replaceChildren(...user.roles.map((role) => el("li", {}, role)));
  byId("idp").textContent = session.idp;
  byId("auth-time").textContent = new Date(session.auth_time * 1000).toLocaleTimeString();
  longestIdle = Math.max(longestIdle, session.idle_expires_in);
  tick();
}

function renderReach() {
  const cookies = document.cookie.split("; ").filter(Boolean);
  const seen = cookies.map((cookie) => el("li", {}, cookie.split("=")[0]));
  const never = ["session cookie", "access token", "refresh token", "ID token"];
  byId("reach").replaceChildren(...seen, ...never.map((name) => el("li", { class: "never" }, name)));
}

function tick() {
  if (!session.authenticated) return;
  const passed = (performance.now() - readAt) / 1000;
  const age = Math.max(0, Date.now() / 1000 - passed - session.auth_time);
  const ends = session.expires_in - passed;
  const idle = session.idle_expires_in - passed;
  clock("absolute", ends, age + session.expires_in);
  clock("idle", idle, longestIdle);
  if (Math.min(ends, idle) <= 0) {
    session = { authenticated: false };
    look();
  }
}

function clock(name, left, whole) {
  byId(`${name}-left`).textContent = duration(left);
  byId(`${name}-meter`).max = whole;
  byId(`${name}-meter`).value = Math.max(0, left);
}

function duration(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60].map((part) => String(part).padStart(2, "0"));
  return [Math.floor(whole / 3600), ...parts].join(":");
}

function initials(name) {
  return name.split(/\s+/).map((word) => word[0]).slice(0, 2).join("").toUpperCase();
}
