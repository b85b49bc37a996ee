import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, createWorld, type World } from '../support/world.ts';

const body = JSON.stringify({ type: 'echo', input: { message: 'grüße' } });

describe('a body that is not JSON in UTF-8', () => {
  let world: World;
  let client: Client;
  beforeAll(async () => {
    world = await createWorld({ mode: 'api' });
    client = await world.client();
  });
  afterAll(() => world.close());

  const post = async (bytes: string | Uint8Array<ArrayBuffer>, headers: Record<string, string>) => {
    const answer = await fetch(`${world.url}/api/v1/tasks`, {
      method: 'POST',
      headers: { authorization: `Bearer ${client.token}`, ...headers },
      body: bytes,
    });
    return { status: answer.status, detail: ((await answer.json()) as { detail?: string }).detail };
  };

  it.each([
    ['another charset', { 'content-type': 'application/json; charset=latin1' }],
    ['a compressed one', { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
  ])('is refused with 415 for %s', async (_, headers) => {
    expect((await post(body, headers)).status).toBe(415);
  });

  it('is refused with 400 where the bytes are no UTF-8, instead of being stored as something else', async () => {
    const bytes = Buffer.from(body, 'latin1');
    const answer = await post(new Uint8Array(bytes), { 'content-type': 'application/json' });
    expect(answer).toEqual({ status: 400, detail: 'The body is not UTF-8.' });
  });

  it.each([
    'application/json',
    'application/json; charset=utf-8',
    'application/json;charset="UTF-8"',
    'application/vnd.api+json',
  ])('is taken as %s', async (type) => {
    expect((await post(body, { 'content-type': type })).status).toBe(202);
  });
});
