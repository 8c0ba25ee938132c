// What a test wants to go wrong with the next requests to a path.
//
//   status        answered with this status, not handled
//   garbage       answered 200 with what is not JSON although it says so, not handled
//   html          answered 200 with a page, not handled
//   cut           the connection ends, not handled
//   delay         handled after delay_ms
//   delay_answer  handled, and answered delay_ms later
//   lose_answer   handled, then the connection ends without an answer
//
// Healing forgets every fault, and ends the delays that last.
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';

let faults = [];
let held = 0;
let healing = new AbortController();

const INSTEAD = {
  status: (ctx, fault) => answer(ctx, fault.status, { error: 'temporarily_unavailable' }),
  garbage: (ctx) => {
    answer(ctx, 200, '{"access_token": "half of a JSON docu');
    ctx.type = 'application/json';
  },
  html: (ctx) => answer(ctx, 200, '<!doctype html><title>Welcome</title><p>You are connected to this network.'),
  cut: hangUp,
};

const AROUND = {
  delay: async (ctx, next, fault) => {
    await delay(fault.delay);
    await next();
  },
  delay_answer: async (ctx, next, fault) => {
    await next();
    await delay(fault.delay);
  },
  lose_answer: async (ctx, next) => {
    await next();
    hangUp(ctx);
  },
};

export function add(query) {
  const [path, kind] = [query.get('path'), query.get('kind')];
  if (!(kind in INSTEAD || kind in AROUND)) throw new Error(`no such fault: ${kind}`);
  const [status, delayed] = ['status', 'delay_ms'].map((name) => Number(query.get(name)));
  faults.push({ path, kind, status, delay: delayed, left: Number(query.get('times')) });
  return faults;
}

export function heal() {
  faults = [];
  healing.abort();
  healing = new AbortController();
  return faults;
}

// How many requests a delay holds right now.
export const holding = () => held;

// Koa middleware; unhandled(ctx, body) is told of requests that get no further.
export function disturb(unhandled) {
  return async (ctx, next) => {
    const fault = faults.find((one) => one.path === ctx.path && one.left > 0);
    if (!fault) return next();
    fault.left -= 1;
    if (fault.kind in AROUND) return AROUND[fault.kind](ctx, next, fault);
    const body = new URLSearchParams(await text(ctx.req));
    INSTEAD[fault.kind](ctx, fault);
    return unhandled(ctx, Object.fromEntries(body));
  };
}

function answer(ctx, status, body) {
  ctx.status = status;
  ctx.body = body;
}

function hangUp(ctx) {
  ctx.respond = false;
  ctx.req.socket.destroy();
}

async function delay(milliseconds) {
  held += 1;
  await wait(milliseconds, undefined, { signal: healing.signal }).catch(() => {});
  held -= 1;
}
