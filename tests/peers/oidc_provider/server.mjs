// A real, certified OpenID Provider for tests: panva's oidc-provider on loopback, everything in memory.
//
// Environment: HOST, PORT, ISSUER, CLIENTS (a JSON list of client metadata); AUTOLOGIN=1 replaces the login and consent
// forms by an immediate yes for `login_hint` or alice; USERINFO_ONLY=1 keeps the profile claims out of the ID token;
// ACCESS_TOKEN_TTL in seconds; ROTATE=0 keeps a refresh token valid when it is used; DPOP_NONCES=1 wants a nonce of the
// server's in every DPoP proof; DEFAULT_RESOURCE is what a request that names no resource is about.
//
// Beside the protocol there is a control surface for tests:
//   GET  /_test/stats    {requests: {"POST /token 200": n, and by grant type "POST /token refresh_token 200": n},
//                         sessions: people logged in, held: requests that wait because of a fault}
//   GET  /_test/secrets  every state, nonce, code, verifier and token that passed, by parameter name
//   POST /_test/rotate   sign with new keys from now on; the old ones stay published, as in a real rotation
//   POST /_test/revoke?sub=alice   end a person's sessions here and take back every grant and token, telling nobody
//   POST /_test/fault?path=/token&kind=status&status=503&times=1&delay_ms=0   disturb the next requests: see faults.mjs
//   POST /_test/heal     disturb no more
import crypto from 'node:crypto';
import http from 'node:http';

import * as jose from 'jose';

// oidc-provider calls URL.parse, which came only with Node 20.13 and 22.1.
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);

const { default: Provider } = await import('oidc-provider');
const { default: MemoryAdapter } = await import('oidc-provider/lib/adapters/memory_adapter.js');
const faults = await import('./faults.mjs');
const resources = await import('./resources.mjs');

const { HOST, PORT, ISSUER } = process.env;
const AUTOLOGIN = process.env.AUTOLOGIN === '1';
const ACCESS_TOKEN_TTL = Number(process.env.ACCESS_TOKEN_TTL ?? 300);
const DPOP_NONCES = process.env.DPOP_NONCES === '1';
const DPOP_SECRET = crypto.randomBytes(32);
const SECRETS = [
  'state', 'nonce', 'code', 'code_verifier', 'client_assertion', 'access_token', 'refresh_token', 'id_token',
  'id_token_hint', 'token', 'logout_token',
];

const PEOPLE = {
  alice: { name: 'Alice Adams', email: 'alice@example.com', email_verified: true, roles: ['admin', 'user'] },
  bob: { name: 'Bob Brown', email: 'bob@example.com', email_verified: true, roles: ['user'] },
};

// As many as a load needs, beside those with a name.
const person = (id) => PEOPLE[id] ?? (/^person-\d+$/.test(id) ? { name: id, roles: ['user'] } : undefined);

const records = new Map();
const requests = {};
const secrets = Object.fromEntries(SECRETS.map((name) => [name, new Set()]));
let keys = [];
let provider;
let handle;

// The default storage drops the oldest of 1,000 records, tokens and sessions together, which many logins exceed.
class Adapter extends MemoryAdapter {
  constructor(model) { super(model, records); }

  async find(id) {
    const record = await super.find(id);
    return record?.exp <= Date.now() / 1000 ? undefined : record;
  }
}

async function rotate() {
  keys = [...await generateKeys(), ...keys];
  provider = build();
  handle = provider.callback();
}

async function generateKeys() {
  return Promise.all(['RS256', 'ES256'].map(async (alg) => {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    const jwk = await jose.exportJWK(privateKey);
    return { ...jwk, alg, use: 'sig', kid: await jose.calculateJwkThumbprint(jwk) };
  }));
}

function build() {
  const instance = new Provider(ISSUER, {
    adapter: Adapter,
    clients: JSON.parse(process.env.CLIENTS),
    jwks: { keys },
    cookies: { keys: ['the cookies of a test'] },
    claims: { email: ['email', 'email_verified'], profile: ['name'], roles: ['roles'] },
    conformIdTokenClaims: process.env.USERINFO_ONLY === '1',
    findAccount: (ctx, id) => person(id) && { accountId: id, claims: () => ({ sub: id, ...person(id) }) },
    responseTypes: ['code'],
    pkce: { required: () => true },
    issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: process.env.ROTATE !== '0',
    extraTokenClaims: (ctx, token) => ({ roles: person(token.accountId)?.roles }),
    ttl: { AccessToken: ACCESS_TOKEN_TTL, ClientCredentials: ACCESS_TOKEN_TTL },
    fetch: (url, { dispatcher, ...options }) => { // that dispatcher refuses loopback addresses
      remember(Object.fromEntries(new URLSearchParams(options.body)));
      return fetch(url, options);
    },
    interactions: AUTOLOGIN ? { url: (ctx, interaction) => `/_test/autologin/${interaction.uid}` } : undefined,
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: !AUTOLOGIN },
      dPoP: { enabled: true, nonceSecret: DPOP_NONCES ? DPOP_SECRET : undefined, requireNonce: () => DPOP_NONCES },
      introspection: { enabled: true, allowedPolicy: () => true },
      pushedAuthorizationRequests: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (ctx, client, granted) => granted?.[0] ?? (process.env.DEFAULT_RESOURCE || undefined),
        getResourceServerInfo: resources.resourceServer,
        useGrantedResource: () => true,
      },
      revocation: { enabled: process.env.REVOCATION !== '0' },
      rpInitiatedLogout: { enabled: true },
    },
  });
  instance.registerGrantType(
    resources.TOKEN_EXCHANGE, (ctx) => resources.exchange(instance, ctx), resources.PARAMETERS,
  );
  instance.use(faults.disturb((ctx, body) => note(ctx, ctx.respond === false ? 'cut' : ctx.status, body)));
  instance.use(observe);
  instance.on('server_error', (ctx, err) => console.error(err));
  instance.on('backchannel.error', (ctx, err) => console.error(err));
  instance.on('grant.error', (ctx, err) => console.error(ctx.path, err.message, err.error_description));
  return instance;
}

async function observe(ctx, next) {
  await next();
  note(ctx, ctx.status, ctx.oidc?.params);
  remember(ctx.body);
  resources.keep(ctx.body?.access_token, ctx.oidc?.entities.AccessToken);
}

function note(ctx, outcome, params) {
  const path = ctx.path.replace(/\/[\w-]{43}$/, '/:uid');
  count(ctx.method, path, outcome);
  if (params?.grant_type) count(ctx.method, path, params.grant_type.split(':').at(-1), outcome);
  remember(params);
}

function remember(source) {
  for (const name of SECRETS) if (typeof source?.[name] === 'string') secrets[name].add(source[name]);
}

function count(...words) {
  const key = words.join(' ');
  requests[key] = (requests[key] ?? 0) + 1;
}

function revoke(sub) {
  const theirs = [...records].filter(([, record]) => record.accountId === sub);
  for (const [key] of theirs) records.delete(key);
  return { revoked: theirs.length };
}

async function autologin(req, res) {
  const { params, session, grantId } = await provider.interactionDetails(req, res);
  const accountId = session?.accountId ?? params.login_hint ?? 'alice';
  const known = grantId && await provider.Grant.find(grantId);
  const grant = known || new provider.Grant({ accountId, clientId: params.client_id });
  resources.consent(grant, params);
  await provider.interactionFinished(req, res, { login: { accountId }, consent: { grantId: await grant.save() } });
}

const controls = {
  'GET /_test/stats': () => ({
    requests,
    sessions: [...records].filter(([key, record]) => key.startsWith('Session:') && record.accountId).length,
    held: faults.holding(),
  }),
  'GET /_test/secrets': () => Object.fromEntries(SECRETS.map((name) => [name, [...secrets[name]]])),
  'POST /_test/rotate': async () => {
    await rotate();
    return keys.map((key) => key.kid);
  },
  'POST /_test/revoke': (query) => revoke(query.get('sub')),
  'POST /_test/fault': faults.add,
  'POST /_test/heal': faults.heal,
};

async function answer(req, res) {
  const { pathname, searchParams } = new URL(req.url, ISSUER);
  if (AUTOLOGIN && pathname.startsWith('/_test/autologin/')) return autologin(req, res);
  const control = controls[`${req.method} ${pathname}`];
  if (control) return json(res, 200, await control(searchParams));
  return handle(req, res);
}

function json(res, status, body) {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const server = http.createServer((req, res) => answer(req, res).catch((err) => {
  console.error(err);
  json(res, 500, { error: 'server_error' });
}));
await rotate();
server.listen(Number(PORT), HOST);
process.on('SIGTERM', () => process.exit(0));
