// An OpenID Provider to try the BFF with: panva's oidc-provider, everything in memory, any password.
//
//   ISSUER                 its address as browsers and the BFF see it   http://login.localhost:7001
//   PORT, HOST             where it listens                             7001, every address
//   BASE_URL               the BFF's BFF_BASE_URL                       http://app.localhost:8080
//   AUTH_CLIENT_SECRET     what the BFF proves itself with, as its variable of that name
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';

const { ISSUER = 'http://login.localhost:7001', BASE_URL = 'http://app.localhost:8080' } = process.env;
const { PORT = '7001', HOST, AUTH_CLIENT_SECRET } = process.env;

const people = {
  alice: { name: 'Alice Adams', email: 'alice@example.com', roles: ['admin', 'user'] },
  bob: { name: 'Bob Brown', email: 'bob@example.com', roles: ['user'] },
};

const provider = new Provider(ISSUER, {
  clients: [{
    client_id: 'bff',
    client_secret: AUTH_CLIENT_SECRET,
    redirect_uris: [`${BASE_URL}/auth/callback`],
    post_logout_redirect_uris: [`${BASE_URL}/`],
    grant_types: ['authorization_code', 'refresh_token'],
  }],
  jwks: { keys: [generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  claims: { email: ['email'], profile: ['name'], roles: ['roles'] },
  conformIdTokenClaims: false, // name, email and roles stand in the ID token
  findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
  issueRefreshToken: () => true,
  features: { introspection: { enabled: true }, revocation: { enabled: true } },
});

provider.listen(Number(PORT), HOST);
