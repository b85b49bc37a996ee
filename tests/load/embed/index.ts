import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEmbeddingCache, type EmbeddingStore, embedTogether } from '../../../src/clients/embeddings/index.ts';
import type { ModelClient } from '../../../src/clients/model-client.ts';
import { createModelClient } from '../../../src/clients/ollama.ts';
import { createDb, createPool } from '../../../src/db/connect.ts';
import { findEmbeddings, keepEmbeddings } from '../../../src/db/embedding-cache.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { startFakeOllama } from '../../support/fake-ollama.ts';
import { until } from '../../support/until.ts';
import { defineBench, machine, table } from '../bench.ts';
import { number, whole } from '../options.ts';

const USAGE = {
  about: 'How many texts so many callers get embedded in a second, one by one, together, and when they come again',
  options: {
    texts: whole(1_000, 'texts in all'),
    callers: whole(32, 'callers at once'),
    call: number(20, 'milliseconds that the host needs for a call'),
    text: number(2, 'milliseconds that it needs for each text in it'),
  },
};

export const bench = defineBench(USAGE, async ({ texts: count, callers, call: callMs, text: textMs }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const log = createLog('warn');
  const postgres = await startPostgres({ dataDir: folder, password: 'bench', log });
  const pool = createPool({ url: postgres.url, max: 4, name: 'bench', log });
  const db = createDb(pool);
  const ollama = await startFakeOllama();
  let last: Promise<unknown> = Promise.resolve();
  ollama.script = async ({ body }, response) => {
    const texts = [body.input].flat() as string[];
    last = last.then(() => new Promise((resolve) => setTimeout(resolve, callMs + texts.length * textMs)));
    await last;
    const embeddings = texts.map((text) =>
      Array.from({ length: 384 }, (_, n) => Math.fround(Math.sin(n * text.length))),
    );
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ embeddings, prompt_eval_count: texts.length * 8 }));
    return true;
  };
  const models = createModelClient({ hosts: [ollama.url], allowed: [], autoPull: false, log });
  const store: EmbeddingStore = { find: (keys) => findEmbeddings(db, keys), keep: (rows) => keepEmbeddings(db, rows) };
  const cacheOf = () => createEmbeddingCache({ maxBytes: 64 * 2 ** 20, store, log });
  try {
    await migrateUp({ db, pool, log });
    console.log(
      `${callers} callers, one text of 384 numbers at a time, ${count} in all; a host that needs ${callMs} ms for a call and ${textMs} ms for each text, one call after the other. ${machine()}, Postgres 18 from npm.\n`,
    );
    const cache = cacheOf();
    const together = embedTogether(models, { cache });
    const cases: Array<[string, ModelClient, string]> = [
      ['each text in a call of its own', models, 'first'],
      ['together', embedTogether(models, {}), 'first'],
      ['together, and kept', together, 'second'],
      ['again, from memory', together, 'second'],
      ['again in another process, from Postgres', embedTogether(models, { cache: cacheOf() }), 'second'],
    ];
    const rows = [['', 'texts/s', 'calls of the host', 'CPU ms a text']];
    const speeds: number[] = [];
    for (const [name, client, kind] of cases) {
      const texts = Array.from({ length: count }, (_, n) => `${kind} text number ${n}, as long as a sentence is`);
      ollama.calls.length = 0;
      const [began, cpu] = [performance.now(), process.cpuUsage()];
      await embedAll(client, texts, callers);
      const seconds = (performance.now() - began) / 1_000;
      const { user, system } = process.cpuUsage(cpu);
      speeds.push(count / seconds);
      rows.push([
        name,
        (count / seconds).toFixed(0),
        `${ollama.calls.length}`,
        ((user + system) / 1_000 / count).toFixed(2),
      ]);
      if (name.endsWith('kept')) await until('all are kept', async () => (await keptOf(pool)) === count);
    }
    console.log(`${table(rows)}\n`);
    const [alone = 0, batched = 0, , memory = 0, other = 0] = speeds;
    return batched > 3 * alone && memory > batched && other > batched;
  } finally {
    await models.close();
    await ollama.close();
    await db.destroy();
    await postgres.close();
    await rm(folder, { recursive: true, force: true });
  }
});

async function keptOf(pool: ReturnType<typeof createPool>): Promise<number> {
  return (await pool.query('select count(*)::int as n from embedding_cache')).rows[0].n;
}

async function embedAll(client: ModelClient, texts: string[], callers: number): Promise<void> {
  const { signal } = new AbortController();
  const left = [...texts];
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let text = left.pop(); text !== undefined; text = left.pop())
        await client.embed({ input: [text], model: 'all-minilm' }, { signal });
    }),
  );
}
