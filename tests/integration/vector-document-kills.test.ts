import { afterAll, beforeAll, expect, it } from 'vitest';
import { piecesOf } from '../../src/documents/pieces.ts';
import type { Ingested } from '../../src/tasks/tools.ts';
import { manual, pointsOf } from '../support/ingest.ts';
import { spawnSutazai } from '../support/process.ts';
import { until } from '../support/until.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let client: Client;
beforeAll(async () => {
  world = await createWorld({ mode: 'api', env: { LEASE_SECONDS: '2' } });
  client = await world.client();
});
afterAll(() => world.close());

/** So much more in each chunk that it has several points. */
const MORE = ' It turns slowly, by day and by night, whatever the weather may be, and nobody hears it.'.repeat(3);

it('a document whose worker is killed twice has each point once, and hardly any was embedded twice', async () => {
  const CHUNKS = 300;
  const pieces = piecesOf(manual('wheel', 1, MORE).split('\n\n')[1]?.trim() ?? '').length;
  expect(pieces).toBeGreaterThan(1);
  /** A chunk is embedded whole, and each of its pieces; 32 chunks at a time. */
  const batch = 32 * (pieces + 1);
  // The third and the fifth batch never come back: the worker is killed while it waits for them.
  let texts = 0;
  let hang = 2 * batch;
  world.ollama.script = ({ path, body }) => {
    if (path !== '/api/embed') return false;
    const length = [body.input].flat().length;
    if (length > 1 && texts >= hang) return true;
    if (length > 1) texts += length;
    return false;
  };
  const env = { ...world.env, WORKER_LANES: 'vector' };
  const input = { collection: 'kills', text: manual('wheel', CHUNKS, MORE), content_type: 'text/markdown' };
  const { id } = await client.submit('document.ingest', input);
  const embedded = async () =>
    (await world.db.selectFrom('documents').select('embedded').where('task_id', '=', id).executeTakeFirst())?.embedded;
  for (const lost of [64, 128]) {
    const victim = spawnSutazai(['worker'], env);
    await until(`${lost} chunks are stored`, async () => (await embedded()) === lost).catch((error) => {
      throw new Error(`${error.message}: ${victim.output()}`);
    });
    expect(await victim.kill('SIGKILL')).toBe('SIGKILL');
    hang = lost === 64 ? 4 * batch : Number.POSITIVE_INFINITY;
  }
  const healthy = spawnSutazai(['worker'], env);
  const task = await client.waitForEnd(id);
  expect(task).toMatchObject({ status: 'completed', attempt: 3, output: { outcome: 'stored', chunks: CHUNKS } });
  expect(await pointsOf((task.output as Ingested).document_id)).toBe(CHUNKS * pieces);
  expect(texts).toBe(CHUNKS * (pieces + 1));
  expect(await healthy.kill('SIGTERM'), healthy.output()).toBe(0);
});
