// An OpenID provider for tests: client credentials as signed JWTs, over HTTP or HTTPS.
// Arguments: where npm installed `oidc-provider`, a port, and for HTTPS a certificate and its key.
// Each line of its input gets one line as an answer: `token CLIENT [RESOURCE]` a token as the client
// would get it, `rotate` a new key instead of the one that it has. It ends when its input does.

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

function provider() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' });
  return new Provider(issuer, {
    clients: [client('agent-7', 300), client('short', 4)],
    extraClientMetadata: { properties: ['urn:gatepost:seconds'] },
    jwks: { keys: [{ ...jwk, alg: 'ES256', use: 'sig', kid: randomUUID() }] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
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
    extraTokenClaims: () => ({ groups: ['data-agents'], environment: 'production' }),
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

const input = createInterface({ input: process.stdin });
input.on('line', async (line) => {
  const [command, ...words] = line.split(' ');
  if (command === 'rotate') {
    current = provider();
    console.log('rotated');
  } else {
    console.log(await token(...words));
  }
});
input.on('close', () => process.exit(0));
