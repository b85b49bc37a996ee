import { connect } from 'node:net';
import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectProblem } from '../support/problem.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

describe('files by the official client of OpenAI', () => {
  let world: World;
  let client: Client;
  let openai: OpenAI;
  beforeAll(async () => {
    const env = { MAX_BODY_BYTES: '4096', MAX_FILE_BYTES: '3000000', MAX_STORED_BYTES_PER_USER: '5000000' };
    world = await createWorld({ mode: 'api', env });
    client = await world.client();
    openai = new OpenAI({ baseURL: `${world.url}/v1`, apiKey: client.token, maxRetries: 0 });
  });
  afterAll(() => world.close());

  it('are stored, listed, read and deleted, however large beside the usual bodies', async () => {
    const text = '{"custom_id":"ä"}\n'.repeat(120_000);
    const before = Math.floor(Date.now() / 1000);
    const file = await openai.files.create({ file: await toFile(Buffer.from(text), 'lines.jsonl'), purpose: 'batch' });
    expect(file).toEqual({
      ...{ id: expect.stringMatching(/^file-[0-9a-f-]{36}$/), object: 'file', bytes: Buffer.byteLength(text) },
      ...{ created_at: expect.any(Number), filename: 'lines.jsonl', purpose: 'batch', status: 'processed' },
    });
    expect(file.created_at - before).toBeGreaterThanOrEqual(-5);
    expect(await openai.files.retrieve(file.id)).toEqual(file);
    const content = await openai.files.content(file.id);
    expect(content.headers.get('content-disposition')).toBe('attachment');
    expect(await content.text()).toBe(text);

    const small = await openai.files.create({ file: await toFile(Buffer.from('x'), 'x.txt'), purpose: 'user_data' });
    const ids = [];
    for await (const one of openai.files.list({ limit: 1 })) ids.push(one.id);
    expect(ids).toEqual([small.id, file.id]);
    expect((await openai.files.list({ order: 'asc', after: file.id })).data).toEqual([small]);
    expect((await openai.files.list({ purpose: 'batch' })).data).toEqual([file]);

    expect(await openai.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true });
    await expect(openai.files.retrieve(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(openai.files.content(file.id)).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await expect(openai.files.list({ after: 'file-x' })).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    await openai.files.delete(small.id);
  });

  it('are refused where they are too large, too many or no form', async () => {
    const large = await toFile(Buffer.alloc(3_000_001), 'x');
    await expect(openai.files.create({ file: large, purpose: 'batch' })).rejects.toMatchObject({
      ...{ status: 413, code: 'body_too_large' },
    });
    const half = async () =>
      openai.files.create({ file: await toFile(Buffer.alloc(2_600_000), 'x'), purpose: 'batch' });
    const first = await half();
    await expect(half()).rejects.toMatchObject({ status: 409, code: 'limit_reached' });
    await openai.files.delete(first.id);
    await openai.files.delete((await half()).id);
    await expect(
      openai.files.create({ file: await toFile(Buffer.from('x'), 'x'), purpose: 'other' as never }),
    ).rejects.toMatchObject({ status: 400, param: 'purpose' });
    expectProblem(await client.request('POST', '/v1/files', { purpose: 'batch' }), 'unsupported_media_type');
    expect((await openai.files.list()).data).toEqual([]);
  });

  it('are stored once under an Idempotency-Key, also where there is no room for another', async () => {
    const send = async (key: string, content: Buffer, name = 'x') => {
      const file = await toFile(content, name);
      return openai.files.create({ file, purpose: 'batch' }, { headers: { 'Idempotency-Key': key } }).withResponse();
    };
    const large = Buffer.alloc(2_600_000, 'a');
    const replayed = ({ response }: { response: Response }) => response.headers.get('idempotency-replayed');
    const first = await send('large', large);
    const again = await send('large', large);
    expect([replayed(first), replayed(again)]).toEqual([null, 'true']);
    expect(again.data).toEqual(first.data);
    for (const [content, name] of [
      [large, 'y'],
      [Buffer.from('b'), 'x'],
    ] as const)
      await expect(send('large', content, name)).rejects.toMatchObject({ code: 'idempotency_key_reused' });
    const small = await Promise.allSettled(Array.from({ length: 4 }, () => send('small', Buffer.from('b'))));
    const stored = small.flatMap((one) => (one.status === 'fulfilled' ? [one.value.data.id] : []));
    expect(new Set(stored).size).toBe(1);
    const refused = small.flatMap((one) => (one.status === 'rejected' ? [one.reason.code] : []));
    expect(refused.filter((code) => code !== 'idempotency_key_in_use')).toEqual([]);
    expect((await openai.files.list()).data.map(({ id }) => id).sort()).toEqual([first.data.id, stored[0]].sort());
    const rows = await world.db.selectFrom('files').select('id').execute();
    expect(rows).toHaveLength(2);
    for (const { id } of (await openai.files.list()).data) await openai.files.delete(id);
    expect((await send('large', large)).data).toEqual(first.data);
  });

  it('that break off leave nothing behind', async () => {
    const { hostname, port } = new URL(world.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      [
        ...['POST /v1/files HTTP/1.1', 'Host: x', `Authorization: Bearer ${client.token}`, 'Content-Length: 2000000'],
        'Content-Type: multipart/form-data; boundary=b\r\n',
        ...['--b', 'Content-Disposition: form-data; name="file"; filename="x"\r\n', 'x'.repeat(1_500_000)],
      ].join('\r\n'),
    );
    const rows = () => world.db.selectFrom('files').select(['status', 'bytes']).execute();
    // A first part is stored, and no statement waits for the rest.
    await until('a part is stored', async () => Number((await rows())[0]?.bytes) > 0);
    expect((await openai.files.list()).data).toEqual([]);
    socket.destroy();
    await until('it is taken away', async () => (await rows()).length === 0);
  });
});
