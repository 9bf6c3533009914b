// An OpenID provider for tests, over HTTP or HTTPS: signed JWTs for clients by their credentials, and
// for people by its own login form, whoever they say they are.
// Arguments: where npm installed `oidc-provider`, a port, and for HTTPS a certificate and its key.
// Each line of its input gets one line as an answer: `token CLIENT [RESOURCE]` a token as the client
// would get it, `renew CLIENT TOKEN` what comes of a refresh token, `rotate` a new key instead of the
// one that it has. It ends when its input does.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';

const [modules, port, certificate, key] = process.argv.slice(2);
const { Provider } = await import(`${modules}/oidc-provider/lib/index.js`);
const issuer = `${certificate ? 'https' : 'http'}://localhost:${port}`;

const client = (id, seconds) => ({
  client_id: id,
  client_secret: 'secret',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
  id_token_signed_response_alg: 'ES256',
  'urn:gatepost:seconds': seconds,
});

// What `gatepost login` is.
const native = (id, seconds) => ({
  client_id: id,
  application_type: 'native',
  token_endpoint_auth_method: 'none',
  grant_types: [
    'authorization_code',
    'refresh_token',
    'urn:ietf:params:oauth:grant-type:device_code',
  ],
  redirect_uris: ['http://127.0.0.1/callback'],
  response_types: ['code'],
  id_token_signed_response_alg: 'ES256',
  'urn:gatepost:seconds': seconds,
});

function provider() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' });
  return new Provider(issuer, {
    clients: [
      client('agent-7', 300),
      client('short', 4),
      client('delegate', 300),
      native('cli', 300),
      // Always to be renewed, and soon over.
      native('cli-short', 20),
      native('cli-brief', 2),
    ],
    scopes: ['openid', 'offline_access'],
    extraClientMetadata: { properties: ['urn:gatepost:seconds'] },
    jwks: { keys: [{ ...jwk, alg: 'ES256', use: 'sig', kid: randomUUID() }] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:gatepost',
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource, client) => ({
          scope: '',
          audience: resource === 'urn:gatepost' ? 'gatepost' : resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: client['urn:gatepost:seconds'],
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    extraTokenClaims: (_, token) => ({
      groups: token.accountId ? ['people'] : ['data-agents'],
      environment: 'production',
      ...(token.clientId === 'delegate' && {
        act: { sub: 'planner', act: { iss: 'https://cloud.example', sub: 'platform' } },
      }),
    }),
    cookies: { keys: ['of a test'] },
  }).callback();
}

let current = provider();
const answer = (request, response) => current(request, response);
const server = certificate
  ? https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, answer)
  : http.createServer(answer);
server.listen(Number(port), 'localhost', () => console.log('listening'));

async function token(client, resource) {
  const body = new URLSearchParams({ grant_type: 'client_credentials' });
  if (resource) body.set('resource', resource);
  const authorization = `Basic ${Buffer.from(`${client}:secret`).toString('base64')}`;
  const response = await fetch(`${issuer}/token`, { method: 'POST', headers: { authorization }, body });
  return (await response.json()).access_token;
}

async function renew(client, refresh) {
  const form = { grant_type: 'refresh_token', client_id: client, refresh_token: refresh };
  const body = new URLSearchParams(form);
  const response = await fetch(`${issuer}/token`, { method: 'POST', body });
  return (await response.json()).error ?? 'renewed';
}

const input = createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const [command, ...words] = line.split(' ');
  if (command === 'rotate') {
    current = provider();
    console.log('rotated');
  } else if (command === 'renew') {
    console.log(await renew(...words));
  } else {
    console.log(await token(...words));
  }
});
input.on('close', () => process.exit(0));
