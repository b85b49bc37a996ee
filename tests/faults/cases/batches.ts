import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

const LINES = 5_000;
const BAD = 50;
const KILLS = 20;
const WITHIN_MS = 240_000;

interface Batch {
  id: string;
  status: string;
  output_file_id: string | null;
  error_file_id: string | null;
  request_counts: { total: number; completed: number; failed: number };
}

/** Batches of OpenAI's API whose processes are killed. */
export const batchCases = [
  defineCase({
    id: 'F56',
    title: `a batch of ${LINES} lines, while APIs and workers are killed ${KILLS} times`,
    topology: { apis: 2, workers: 2 },
    withinSeconds: 420,
    async run(rig) {
      const fileId = await upload(rig, linesOf());
      const body = { input_file_id: fileId, endpoint: '/v1/embeddings', completion_window: '24h' };
      const headers = { 'idempotency-key': 'the-only-batch' };
      const { id } = await insist<Batch>(rig, 'POST', '/v1/batches', { body, headers });
      for (let kill = 0; kill < KILLS; kill++) {
        await lasting(300 + 700 * Math.random());
        const members = kill % 2 === 0 ? rig.apis : rig.workers;
        const victim = members[(kill >> 1) % members.length];
        must(victim, 'there is nobody to kill');
        await rig.kill(victim);
        await victim.start();
      }
      const { value: done } = await until(
        'the end of the batch',
        async () => {
          const batch = await insist<Batch>(rig, 'GET', `/v1/batches/${id}`);
          return batch.status === 'completed' ? batch : undefined;
        },
        WITHIN_MS,
      );
      const { total, completed, failed } = done.request_counts;
      must(total === LINES && completed === LINES - BAD && failed === BAD, JSON.stringify(done.request_counts));
      const output = await idsOf(rig, done.output_file_id);
      must(output.length === completed && new Set(output).size === completed, `${output.length} lines in the output`);
      must((await idsOf(rig, done.error_file_id)).length === failed, 'a bad line is not in the error file');
      const [row] = await rig.postgres.query<{ tasks: number; lost: number }>(
        `select (select count(*)::int from tasks where batch_id is not null) as tasks,
           (select count(*)::int from attempts where outcome = 'lost') as lost`,
      );
      must(row?.tasks === completed, `${row?.tasks} tasks for ${completed} good lines`);
      rig.note(`${LINES} lines through ${KILLS} kills; ${row?.lost} attempts lost, no line lost or doubled`);
    },
  }),
];

function linesOf(): string {
  const line = (n: number) => ({
    ...{ custom_id: `line-${n}`, method: 'POST', url: '/v1/embeddings' },
    body: { model: n % (LINES / BAD) === 0 ? '../bad' : 'all-minilm', input: `text ${n}` },
  });
  return Array.from({ length: LINES }, (_, n) => JSON.stringify(line(n))).join('\n');
}

async function insist<T>(
  rig: Rig,
  method: string,
  path: string,
  options: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<T> {
  const { value } = await until(`${method} ${path}`, async () => {
    const { status, body } = await rig.client.request<T>(method, path, options);
    must(status < 400 || status >= 500, `${method} ${path} answered ${status}: ${JSON.stringify(body)}`);
    return status === 200 ? body : undefined;
  });
  return value;
}

async function upload(rig: Rig, text: string): Promise<string> {
  const form = new FormData();
  form.append('purpose', 'batch');
  form.append('file', new Blob([text]), 'lines.jsonl');
  const headers = { authorization: `Bearer ${rig.client.token()}` };
  const answer = await fetch(`${rig.apis[0]?.url}/v1/files`, { method: 'POST', headers, body: form });
  const { id } = (await answer.json()) as { id: string };
  return id;
}

async function idsOf(rig: Rig, fileId: string | null): Promise<string[]> {
  if (!fileId) return [];
  const headers = { authorization: `Bearer ${rig.client.token()}` };
  const { value } = await until('the file', async () => {
    const answer = await fetch(`${rig.apis[0]?.url}/v1/files/${fileId}/content`, { headers }).catch(() => undefined);
    const text = answer?.ok ? await answer.text() : undefined;
    return text
      ?.trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { custom_id: string }).custom_id);
  });
  return value;
}
