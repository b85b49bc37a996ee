import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { must, until } from '../rig/wait.ts';

const CHUNKS = 10_000;
/** Each of so many chunks is a long one, with a point for each of its four sentences. */
const LONG_EVERY = 20;
const SENTENCES = 4;
const LONG = CHUNKS / LONG_EVERY;
const POINTS = CHUNKS + LONG * (SENTENCES - 1);
/** Of a long one, the whole is embedded besides its pieces. */
const TEXTS = CHUNKS + LONG * SENTENCES;

const sentence = (n: number, hook: number) =>
  `The wheel of part ${n} hangs on hook ${hook} of the long wall behind the shed, where no rain has reached it and where nobody has looked for it since the spring before.`;
const text = Array.from({ length: CHUNKS }, (_, n) => {
  const said =
    n % LONG_EVERY === 0 ? [1, 2, 3, 4].map((hook) => sentence(n, hook)) : [`The wheel of part ${n} is here.`];
  return `# Part ${n}\n\n${said.join(' ')}\n`;
}).join('\n');

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
      must(points === POINTS, `${points} points are stored of ${POINTS}`);
      const asked = rig.ollama.calls
        .filter(({ path }) => path === '/api/embed')
        .reduce((sum, { body }) => sum + [body.input].flat().length, 0);
      rig.note(
        `${points.toLocaleString('en-US')} points, as there should be; ${asked - TEXTS} of ${TEXTS.toLocaleString('en-US')} texts were embedded twice, or to see what the model makes`,
      );
      must(asked < TEXTS * 1.1, `${asked} texts were embedded for ${TEXTS}`);
    },
  }),
];
