import { createHash, createHmac, createSign, generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

type Json = Record<string, unknown>;
const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const decode = (part = '') => JSON.parse(Buffer.from(part, 'base64url').toString()) as Json;
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();

describe('tokens', () => {
  let world: World;
  let client: Client;
  let header: Json;
  let claims: Json;
  let secret: string;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client('admin');
    const [head, body] = (client.token ?? '').split('.');
    header = decode(head);
    claims = decode(body);
    secret = world.env.JWT_SECRET_KEY ?? '';
  });
  afterAll(() => world.close());

  /** A token signed as the product signs, over whatever header and claims. Text is taken as it is. */
  function forge(change: { header?: Json | string; claims?: Json | string; key?: string; hash?: string }): string {
    const head = typeof change.header === 'string' ? change.header : { ...header, ...change.header };
    const body = typeof change.claims === 'string' ? change.claims : { ...claims, ...change.claims };
    const signed = `${encode(head)}.${encode(body)}`;
    return `${signed}.${createHmac(change.hash ?? 'sha256', change.key ?? secret)
      .update(signed)
      .digest('base64url')}`;
  }
  const ask = (authorization: string) =>
    world.anonymous.request('GET', '/api/v1/auth/me', undefined, { authorization });
  async function expectRefused(token: string) {
    const answer = await ask(`Bearer ${token}`);
    expectProblem(answer, 'invalid_token');
    expect(answer.headers.get('www-authenticate')).toContain('invalid_token');
  }
  const claimsWithout = (name: string) => {
    const { [name]: _, ...rest } = claims;
    return JSON.stringify(rest);
  };

  it('made by hand with the right key and claims are taken, so that the others fail for their own reason', async () => {
    expect(header).toMatchObject({
      alg: 'HS256',
      typ: 'JWT',
      kid: createHash('sha256').update(secret).digest('hex').slice(0, 12),
    });
    expect((await ask(`Bearer ${forge({})}`)).status).toBe(200);
    expect((await ask(`Bearer ${forge({ claims: { jti: 'another' } })}`)).status).toBe(200);
  });

  it.each(['none', 'None', 'NONE', 'nOnE'])(
    'S1: are refused with alg %s, with and without a signature',
    async (alg) => {
      const token = forge({ header: { alg } });
      await expectRefused(token);
      await expectRefused(token.slice(0, token.lastIndexOf('.') + 1));
    },
  );

  it.each([
    ['HS512', () => forge({ header: { alg: 'HS512' }, hash: 'sha512' })],
    ['HS384', () => forge({ header: { alg: 'HS384' }, hash: 'sha384' })],
    ['HS512 in the header alone', () => forge({ header: { alg: 'HS512' } })],
    ['a public key as the secret', () => forge({ key: pem })],
    ['RS256 and a public key as the secret', () => forge({ header: { alg: 'RS256' }, key: pem })],
    ['another secret', () => forge({ key: `${secret}x` })],
    ['an empty secret', () => forge({ key: '' })],
  ])('S2: are refused when they are signed with %s', async (_, make) => {
    await expectRefused(make());
  });

  it('S2: are refused when they are signed by RS256 with a key of somebody else', async () => {
    const signed = `${encode({ ...header, alg: 'RS256' })}.${encode(claims)}`;
    await expectRefused(`${signed}.${createSign('sha256').update(signed).sign(privateKey).toString('base64url')}`);
  });

  it.each([
    ['no alg', { alg: undefined }],
    ['null', { alg: null }],
    ['a list', { alg: ['HS256'] }],
    ['an empty text', { alg: '' }],
    ['small letters', { alg: 'hs256' }],
  ])('S3: are refused with %s', async (_, change) => {
    await expectRefused(forge({ header: change }));
  });

  it('S4: are refused without exp', async () => {
    await expectRefused(forge({ claims: claimsWithout('exp') }));
  });

  it('S5: are refused when they are refresh tokens, or of a kind that is not known', async () => {
    const { body } = await world.anonymous.request<{ refresh_token: string }>('POST', '/api/v1/auth/login', {
      username: 'admin',
      password: world.env.ADMIN_PASSWORD,
    });
    await expectRefused(body.refresh_token);
    for (const typ of ['refresh', 'id', 'dashboard', undefined, null, ['access']])
      await expectRefused(forge({ claims: { typ } }));
  });

  it('S5: of the dashboard do not open the API, and those of the API not the dashboard', async () => {
    const { hostname, port } = new URL(world.url);
    const login = await fetch(`${world.url}/admin/login`, {
      method: 'POST',
      redirect: 'manual',
      headers: { origin: `http://${hostname}:${port}`, 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ login: 'admin', password: world.env.ADMIN_PASSWORD ?? '' }),
    });
    const cookie = (login.headers.get('set-cookie') ?? '').split(';')[0] ?? '';
    const [name, token] = cookie.split('=') as [string, string];
    const board = (value: string) =>
      world.anonymous.request('GET', '/admin/queues/api/queues', undefined, { cookie: `${name}=${value}` });
    expect((await board(token)).status).toBe(200);
    await expectRefused(token);
    for (const other of [client.token ?? '', forge({})]) expectProblem(await board(other), 'unauthorized');
  });

  it.each([
    ['another aud', { aud: 'somebody-else' }],
    ['a list of other auds', { aud: ['a', 'b'] }],
    ['an empty aud', { aud: '' }],
    ['another iss', { iss: 'https://evil.example' }],
    ['a number as iss', { iss: 5 }],
  ])('S6: are refused with %s', async (_, change) => {
    await expectRefused(forge({ claims: change }));
  });

  it.each(['aud', 'iss', 'sub', 'sid', 'name', 'role', 'typ', 'iat'])('S6: are refused without %s', async (name) => {
    await expectRefused(forge({ claims: claimsWithout(name) }));
  });

  const later = Math.floor(Date.now() / 1000) + 600;
  it.each([
    ['text', JSON.stringify(String(later))],
    ['a fraction', `${later}.5`],
    ['Infinity', '1e400'],
    ['null, as NaN is written', 'null'],
    ['NaN itself', 'NaN'],
    ['true', 'true'],
    ['a list', `[${later}]`],
    ['an object', `{"valueOf":${later}}`],
    ['a negative number', '-1'],
    ['nought', '0'],
    ['a time that has passed', '1000000000'],
  ])('S7: are refused when exp is %s', async (_, exp) => {
    await expectRefused(forge({ claims: JSON.stringify(claims).replace(/"exp":\d+/, `"exp":${exp}`) }));
  });

  it('S7: are refused when they are not good yet, or come from the future', async () => {
    await expectRefused(forge({ claims: { nbf: later } }));
    await expectRefused(forge({ claims: { iat: later } }));
  });

  it.each(['Basic', 'Token', 'JWT', 'Digest', 'Bearer2', 'BearerX'])(
    'S8: are refused behind the scheme %s',
    async (scheme) => {
      expect((await ask(`${scheme} ${client.token}`)).status).toBe(401);
    },
  );

  it('S8: are refused without a scheme, behind two, or in the query', async () => {
    for (const value of [
      `${client.token}`,
      `Bearer Bearer ${client.token}`,
      `Bearer ${client.token} x`,
      `Bearer,${client.token}`,
    ])
      expect((await ask(value)).status, value).toBe(401);
    expect((await world.anonymous.request('GET', `/api/v1/auth/me?access_token=${client.token}`)).status).toBe(401);
    expect((await ask(`bearer ${client.token}`)).status).toBe(200);
  });

  it.each([
    ['none', { kid: undefined }],
    ['another', { kid: 'other' }],
    ['a path', { kid: '../../../../dev/null' }],
    ['SQL', { kid: "' union select 'x' --" }],
    ['a list', { kid: ['a'] }],
  ])('S9: are refused when the kid is %s', async (_, change) => {
    await expectRefused(forge({ header: change }));
    await expectRefused(forge({ header: change, key: '' }));
  });

  it('S9: that bring a key or the address of one are refused, and nobody asks there', async () => {
    let asked = 0;
    const server = createServer((_, response) => {
      asked++;
      response.end('{"keys":[]}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys.json`;
    const jwk = { kty: 'oct', k: encode('evil'), alg: 'HS256', kid: 'evil' };
    for (const kid of ['evil', header.kid])
      for (const more of [
        { jku: url },
        { x5u: url },
        { jwk },
        { jwk: publicKey.export({ format: 'jwk' }) },
        { x5c: [pem] },
      ])
        await expectRefused(forge({ header: { ...more, kid }, key: 'evil' }));
    expect(asked).toBe(0);
    await new Promise((resolve) => server.close(resolve));
  });

  it.each([
    ['a role that is none', { role: 'root' }],
    ['a role by prototype', { role: 'constructor' }],
    ['a list of roles', { role: ['admin'] }],
  ])('are refused with %s', async (_, change) => {
    await expectRefused(forge({ claims: change }));
  });

  it('are refused when anything in them was changed or cut', async () => {
    const [head = '', body = '', signature = ''] = (client.token ?? '').split('.');
    const admin = encode({ ...claims, role: 'admin', name: 'other' });
    const wrong = [
      `${head}.${admin}.${signature}`,
      `${head}.${body}`,
      `${head}.${body}.`,
      `${head}..${signature}`,
      `.${body}.${signature}`,
    ];
    for (const token of [...wrong, `${head}.${body}.${signature}.x`, `${client.token}A`, '..', 'null', '{}'])
      await expectRefused(token);
  });
});
