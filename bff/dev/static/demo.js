// The demo page: buttons to requests. The page keeps no secret and never sees a token.

import * as bff from "/static/bff.js";
import * as counters from "./counters.js";
import { byId, notify } from "./dom.js";
import { send, sendWithToken, show } from "./exchange.js";
import * as session from "./session.js";
import * as sessions from "./sessions.js";

const ORDERS = "/api/orders";
const API_HEADERS = ["X-Denied-Reason", "WWW-Authenticate", "X-Correlation-ID"];
const IDENTITY_HEADERS = [
  "X-User-ID", "X-Session-ID", "X-Auth-Time", "X-User-Email", "X-User-Name", "X-User-Roles",
  "X-Denied-Reason", "WWW-Authenticate", "X-Correlation-ID",
];

/** Run one action at a time, then look at what it changed. A busy button keeps the focus. */
function onPress(id, event, action) {
  byId(id).addEventListener(event, async (happened) => {
    happened.preventDefault();
    const button = happened.submitter ?? happened.currentTarget;
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await action(happened);
      await Promise.all([session.look(), counters.read()]);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}

const order = () => ({ item: byId("order-item").value, quantity: byId("order-quantity").valueAsNumber });
const showCall = (exchange) => show(byId("api-result"), exchange, API_HEADERS);

onPress("call-api", "click", async () => showCall(await send("GET", ORDERS)));
onPress("order-form", "submit", async () => showCall(await sendWithToken("POST", ORDERS, order())));
onPress("post-without-token", "click", async () => showCall(await send("POST", ORDERS, { json: order() })));
const showTokens = (exchange) => show(byId("tokens-result"), exchange, API_HEADERS);

onPress("list-tokens", "click", async () => showTokens(await send("GET", "/auth/tokens")));
onPress("refresh-tokens", "click", async () => showTokens(await sendWithToken("POST", "/auth/tokens/refresh")));
onPress("list-sessions", "click", sessions.look);
onPress("sessions-list", "click", sessions.press);
onPress("verify", "click", async () =>
  show(byId("verify-result"), await send("GET", "/auth/verify"), IDENTITY_HEADERS),
);
byId("login").addEventListener("click", () => bff.beacon("login_click"));
onPress("logout", "click", async () => {
  bff.beacon("logout_click");
  await bff.logout().catch(({ status, problem }) =>
    notify(status ? `Logging out did not work (${status}). ${problem?.detail ?? ""}` : "The server did not answer."),
  );
});

// A logout may come back with the provider's `state`, which is of no use here.
history.replaceState(null, "", location.pathname);
session.watch();
counters.watch();
bff.beacon("page_view", { path: location.pathname });
bff.vitals();
