import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { must, until } from '../rig/wait.ts';

const CHUNKS = 10_000;
const text = Array.from({ length: CHUNKS }, (_, n) => `# Part ${n}\n\nThe wheel of part ${n} is here.\n`).join('\n');

interface Row {
  id: string;
  status: string;
  embedded: number;
}

async function documentOf(rig: Rig): Promise<Row | undefined> {
  const rows = await rig.postgres.query<Row>('select id, status, embedded from documents');
  must(rows.length <= 1, `there are ${rows.length} documents of one content`);
  return rows[0];
}

/** How many points of the document the store has, asked past the proxy's faults. */
async function stored(rig: Rig, document: string): Promise<number> {
  const [{ name } = { name: '' }] = await rig.postgres.query<{ name: string }>(
    `select 'sutazai_' || regexp_replace(embedding_model, '[^a-zA-Z0-9]+', '-', 'g') || '_' || dimensions as name from collections`,
  );
  const answer = await fetch(`${rig.vectors?.url}/collections/${name}/points/count`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ exact: true, filter: { must: [{ key: 'document', match: { value: document } }] } }),
  });
  must(answer.ok, `the store answered the count with ${answer.status}`);
  return ((await answer.json()) as { result: { count: number } }).result.count;
}

/** Documents. */
export const documentCases = [
  defineCase({
    id: 'F55',
    title: `a document of ${CHUNKS.toLocaleString('en-US')} chunks is ingested through kills of the worker`,
    topology: { vectors: true, workers: 1 },
    withinSeconds: 300,
    async run(rig) {
      const [worker] = rig.workers;
      must(worker, 'there is no worker');
      await rig.client.insist({
        type: 'document.ingest',
        input: { collection: 'wheels', text, content_type: 'text/markdown' },
      });
      const at = (embedded: number) =>
        until(`${embedded} chunks`, async () => ((await documentOf(rig))?.embedded ?? 0) >= embedded, 90_000);
      // Three lost workers would make it poison, whatever it does.
      await at(CHUNKS * 0.2);
      await rig.kill(worker);
      await worker.start();
      await at(CHUNKS * 0.4);
      worker.signal('SIGTERM');
      await worker.ended();
      await worker.start();
      await at(CHUNKS * 0.6);
      await rig.kill(worker);
      await worker.start();
      const { value: done } = await until(
        'the document is whole',
        async () => {
          const row = await documentOf(rig);
          return row?.status === 'ready' && row;
        },
        120_000,
      );
      const points = await stored(rig, done.id);
      must(points === CHUNKS, `${points} points are stored of ${CHUNKS}`);
      const asked = rig.ollama.calls
        .filter(({ path }) => path === '/api/embed')
        .reduce((sum, { body }) => sum + [body.input].flat().length, 0);
      rig.note(`${points} points; ${asked - CHUNKS} texts were embedded twice, or to see how long a vector is`);
      must(asked < CHUNKS * 1.1, `${asked} texts were embedded for ${CHUNKS} chunks`);
    },
  }),
];
