// The APIs that tokens are for (RFC 8707), and the grant that turns a token for one into one for another (RFC 8693).
import { errors } from 'oidc-provider';
import { checkDpopReplay, checkDpopRequired, validateDpop } from 'oidc-provider/lib/helpers/grants.js';

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const PARAMETERS = [
  'subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'audience', 'scope',
];
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const TYPES = [ACCESS_TOKEN, 'urn:ietf:params:oauth:token-type:jwt'];

const RESOURCES = {
  'https://api.example.test': { scope: 'api:read api:write', accessTokenFormat: 'jwt' },
  'https://billing.example.test': { scope: 'billing:read', accessTokenFormat: 'jwt' },
  'https://opaque.example.test': { scope: 'opaque:read', accessTokenFormat: 'opaque' },
};

const jwts = new Map(); // nothing else remembers JWT access tokens: token -> what it was made of

export function resourceServer(ctx, indicator) {
  const known = RESOURCES[indicator];
  if (!known) throw new errors.InvalidTarget();
  return { ...known, audience: indicator, jwt: { sign: { alg: 'RS256' } } };
}

// Consent to all that was asked for: the scopes of the resources there, and every other one here.
export function consent(grant, { scope, resource }) {
  const elsewhere = Object.values(RESOURCES).flatMap((one) => one.scope.split(' '));
  grant.addOIDCScope(scope.split(' ').filter((one) => !elsewhere.includes(one)).join(' '));
  for (const one of [resource ?? []].flat()) grant.addResourceScope(one, RESOURCES[one].scope);
}

export function keep(value, token) {
  if (token?.resourceServer?.accessTokenFormat === 'jwt') jwts.set(value, token);
}

// What a token stands for, while it lives and nobody has revoked its grant.
async function subject(provider, token) {
  const found = await provider.AccessToken.find(token) ?? jwts.get(token);
  if (!found || found.isExpired || !await provider.Grant.find(found.grantId)) {
    throw new errors.InvalidGrant('subject_token is not a valid access token');
  }
  return found;
}

function narrowed(scope, wanted) {
  const known = scope.split(' ');
  const asked = wanted?.split(' ') ?? known;
  const unknown = asked.filter((one) => !known.includes(one));
  if (unknown.length) throw new errors.InvalidScope('the target has no such scope', unknown.join(' '));
  return asked.join(' ');
}

function check(params) {
  if (!params.subject_token) throw new errors.InvalidRequest('subject_token is required');
  for (const type of [params.subject_token_type, params.requested_token_type ?? ACCESS_TOKEN]) {
    if (!TYPES.includes(type)) throw new errors.InvalidRequest('this token type is not supported');
  }
}

export async function exchange(provider, ctx) {
  const { client, params } = ctx.oidc;
  check(params);
  const proof = await validateDpop(provider, ctx);
  const target = params.resource ?? params.audience;
  const server = new provider.ResourceServer(target, resourceServer(ctx, target));
  const { accountId, grantId } = await subject(provider, params.subject_token);
  const scope = narrowed(server.scope, params.scope);
  const token = new provider.AccessToken({ accountId, client, grantId, scope, gty: 'token-exchange' });
  token.resourceServer = server;
  await checkDpopReplay(provider, ctx, proof, client.clientId);
  checkDpopRequired(provider, ctx, proof);
  if (proof) token.setThumbprint('jkt', proof.thumbprint);
  ctx.oidc.entity('AccessToken', token);
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: ACCESS_TOKEN,
    token_type: token.tokenType,
    expires_in: token.expiration,
    scope,
  };
}
