/**
 * The BFF for a browser application, as an ES module without a build step:
 *
 *   import { session, login, logout, fetch, beacon, vitals } from "/static/bff.js";
 *
 * session({touch})      who is logged in: {authenticated, user, expires_in, ...}. touch: false does not extend the session
 * login(returnTo)       leaves this page to log in, and comes back to returnTo, by default this page
 * logout({everywhere})  ends this session, or all of the user's, and leaves this page for the provider's logout
 * fetch(input, init)    window.fetch with the session and, where the BFF wants one, a CSRF token. A 401 also fires
 *                       "bff:unauthenticated" on window, whose detail is the problem (RFC 9457) with its login_url
 * beacon(event, fields) counts an event; sent in batches, at the latest when the page is left. fields: path, attributes.
 *                       Never put a secret or a person's data into it: the BFF refuses the whole batch
 * vitals()              measures LCP, INP, CLS, FCP and TTFB, and reports them once, when the page is left
 *
 * session and logout throw an Error with `status` and `problem` when the BFF refuses.
 */

const HOME = new URL(import.meta.url).origin;
const STALE_TOKEN = /^mis|^bad_s/;

const get = (path) => window.fetch(HOME + path, { credentials: "include" });

async function content(answer) {
  const problem = await answer.json().catch(() => null);
  if (answer.ok) return problem;
  throw Object.assign(new Error(problem?.title), { status: answer.status, problem });
}

export const session = async ({ touch = true } = {}) => content(await get(`/auth/session?touch=${touch}`));

export function login(returnTo = location.href) {
  location.assign(`${HOME}/auth/login?return_to=${encodeURIComponent(returnTo)}`);
}

export async function logout(options = {}) {
  const json = new Blob([JSON.stringify(options)], { type: "application/json" });
  const { logout_url } = await content(await fetch(`${HOME}/auth/logout`, { method: "POST", body: json }));
  location.assign(logout_url);
}

export async function fetch(input, init) {
  const request = new Request(input, init);
  if (new URL(request.url).origin !== HOME) return window.fetch(request);
  const unsafe = !/^(GET|HEAD|OPTIONS)$/.test(request.method);
  let sent;
  const send = () => {
    const copy = new Request(request.clone(), { credentials: "include" });
    if (unsafe) copy.headers.set("X-CSRF-Token", (sent = csrf()));
    return window.fetch(copy);
  };
  if (unsafe && !csrf()) await renew();
  let answer = await send();
  if (STALE_TOKEN.test(answer.headers.get("X-Denied-Reason"))) {
    if (sent === csrf()) await renew();
    answer = await send();
  }
  if (answer.status === 401) {
    const detail = await answer.clone().json().catch(() => ({}));
    if (detail.login_url) dispatchEvent(new CustomEvent("bff:unauthenticated", { detail }));
  }
  return answer;
}

// The cookie counts, since another tab may have renewed it; pages of another host cannot read it, and keep the answer. Of
// several of the name, which a sibling host may have planted, ours is the one that was renewed here. The BFF writes the
// name of BFF_CSRF_COOKIE_NAME into this.
let token = "";
const csrf = ({ cookie } = document) =>
  (cookie.includes(token) && token) || (/(^|; )_eid_csrf_v1=([^;]+)/.exec(cookie)?.[2] ?? token);

// One at a time: each answer replaces the cookie, and with it whatever token is on its way.
let renewal;
const renew = () =>
  (renewal ??= get("/auth/csrf")
    .then(async (answer) => answer.ok && ({ csrf_token: token } = await answer.json()))
    .finally(() => (renewal = null)));

let queue = [];
let timer;
const atLeave = [];

export function beacon(event, fields) {
  const entry = { event, ...fields };
  // The BFF reads 50 events and 16 KiB; a character has at most three bytes.
  if (JSON.stringify([...queue, entry]).length > 5000) flush();
  if (queue.push(entry) === 50) flush();
  timer ??= setTimeout(flush, 5000);
}

function flush() {
  timer = clearTimeout(timer);
  if (queue.length) navigator.sendBeacon(`${HOME}/api/v1/metrics`, JSON.stringify(queue));
  queue = [];
}

function leave() {
  atLeave.splice(0).forEach((report) => report());
  flush();
}

addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => document.hidden && leave());

export function vitals() {
  if (document.hidden) return; // a page that nobody looks at paints when it likes
  const found = PerformanceObserver.supportedEntryTypes.includes("layout-shift") ? { CLS: 0 } : {};
  const worst = {};
  let shift = {};
  const watch = (type, take) => {
    const observer = new PerformanceObserver((list) => list.getEntries().forEach(take));
    observer.observe({ type, buffered: true, durationThreshold: 16 });
    atLeave.push(() => observer.takeRecords().forEach(take));
  };
  watch("navigation", ({ responseStart }) => (found.TTFB = responseStart / 1000));
  watch("paint", ({ name, startTime }) => name.includes("contentful") && (found.FCP = startTime / 1000));
  watch("largest-contentful-paint", ({ startTime }) => (found.LCP = startTime / 1000));
  // Shifts add up while they follow each other within a second, for at most five; the worst such stretch counts.
  watch("layout-shift", ({ hadRecentInput, startTime: now, value }) => {
    if (hadRecentInput) return;
    const follows = now - shift.last < 1000 && now - shift.first < 5000;
    if (!follows) shift = { first: now, sum: 0 };
    shift.last = now;
    found.CLS = Math.max(found.CLS, (shift.sum += value));
  });
  watch("event", ({ interactionId: id, duration }) => {
    if (id) worst[id] = Math.max(duration, worst[id] ?? 0);
  });
  atLeave.push(() => {
    // One interaction in fifty may be an outlier.
    const slowest = Object.values(worst).sort((a, b) => b - a);
    if (slowest[0]) found.INP = slowest[Math.floor(slowest.length / 50)] / 1000;
    for (const name in found) {
      if (found[name] <= 60) beacon("web_vital", { name, value: +found[name].toFixed(4) });
    }
  });
}
