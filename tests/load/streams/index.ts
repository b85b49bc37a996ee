import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '../../../src/embedded/postgres.ts';
import { createLog } from '../../../src/log.ts';
import { startFakeOllama } from '../../support/fake-ollama.ts';
import { type Product, startProduct } from '../../support/product.ts';
import { until } from '../../support/until.ts';
import { defineBench, machine, table } from '../bench.ts';
import { whole } from '../options.ts';
import { openReaders } from './readers.ts';

/** What so many readers may cost one process of the API, in MB. */
const ALLOWED_MB = 100;
const PASSWORD = 'only for this bench';
const WORD = ' word';
const PATIENCE = { withinMs: 120_000, everyMs: 100 };

const USAGE = {
  about: 'What many readers of event streams cost the process of the API that they ask; another process works',
  options: {
    readers: whole(1_000, 'readers'),
    tasks: whole(20, 'running tasks of the last case'),
    words: whole(400, 'words that a task says'),
  },
};

export const bench = defineBench(USAGE, async ({ readers, tasks, words }) => {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const postgres = await startPostgres({
    dataDir: join(folder, 'postgres'),
    password: 'bench',
    log: createLog('warn'),
  });
  const ollama = await startFakeOllama();
  ollama.script = ({ path }, response) => {
    if (path !== '/api/generate') return false;
    response.writeHead(200, { 'content-type': 'application/x-ndjson' });
    let said = 0;
    const timer = setInterval(() => {
      const done = ++said > words;
      response.write(`${JSON.stringify({ response: done ? '' : WORD, done, done_reason: 'stop' })}\n`);
      if (done) response.end();
      if (done) clearInterval(timer);
    }, 50);
    return true;
  };
  const env = {
    ...{ PATH: process.env.PATH ?? '', HOME: folder, DATA_DIR: folder, LOG_LEVEL: 'warn', PORT: '0' },
    ...{ DATABASE_URL: postgres.url, OLLAMA_HOST: ollama.url, ENABLE_VECTOR_SEARCH: 'false' },
    ...{
      JWT_SECRET_KEY: 'x'.repeat(40),
      ENCRYPTION_KEY: Buffer.alloc(32).toString('base64'),
      ADMIN_PASSWORD: PASSWORD,
    },
    ...{
      RATE_LIMIT_PER_MINUTE: '0',
      MAX_STREAMS_PER_USER: '0',
      WORKER_CONCURRENCY: String(tasks),
      OLLAMA_NUM_PARALLEL: String(tasks),
    },
  };
  const worker = await startProduct(['start'], env);
  try {
    console.log(`${readers} readers on one API process. ${machine()}, Postgres 18 from npm.\n`);
    const rows = [['what the readers follow', 'MB more', 'CPU ms a reader', 'text of all, MB']];
    const seconds = (words * 50) / 1000;
    const cases: Case[] = [
      { name: 'one waiting task each, for 15 s', tasks: readers, ms: 15_000 },
      { name: `one running task, ${words} words in ${seconds} s`, tasks: 1 },
      { name: `${tasks} running tasks, each as that`, tasks },
    ];
    let good = true;
    for (const one of cases) {
      // In a process of its own: what one leaves behind in the heap is not the next one's.
      const api = await startProduct(['api'], env);
      const { mb, cpu, text, wrong } = await measure(api, readers, one).finally(() => api.stop('SIGTERM'));
      rows.push([one.name, mb.toFixed(0), cpu.toFixed(1), text.toFixed(1)]);
      good &&= mb < ALLOWED_MB && wrong.length === 0;
      for (const line of new Set(wrong)) console.log(`Wrong: ${line}`);
    }
    console.log(`${table(rows)}\n\nAllowed are ${ALLOWED_MB} MB.`);
    return good;
  } finally {
    await worker.stop('SIGTERM');
    await ollama.close();
    await postgres.close();
    await rm(folder, { recursive: true, force: true });
  }
});

interface Case {
  name: string;
  tasks: number;
  /** How long they are followed; to their end where it is not given. */
  ms?: number;
}

/** Lets so many follow tasks, and tells what that cost the process at most. */
async function measure(api: Product, readers: number, { tasks, ms }: Case) {
  const call = await login(api.url);
  const submit = async (count: number, task: object) => {
    const { tasks: made } = await call<{ tasks: Array<{ id: string }> }>('/api/v1/tasks/batch', {
      tasks: Array.from({ length: count }, () => task),
    });
    return made.map(({ id }) => id);
  };
  const waiting = await submit(readers, { type: 'echo', input: { message: 'x' }, delay_seconds: 3_600 });
  // What a process takes for so many ordinary requests is not the readers'.
  for (let at = 0; at < readers; at += 50) await Promise.all(waiting.slice(at, at + 50).map(call.read));
  const before = { rss: rss(api.pid), cpu: cpuMs(api.pid) };
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, rss(api.pid));
  }, 50);
  const ids = ms ? waiting : await submit(tasks, { type: 'generate', input: { prompt: 'x', model: 'tinyllama' } });
  const all = openReaders(
    api.url,
    call.token,
    Array.from({ length: readers }, (_, n) => ids[n % tasks] as string),
  );
  const over = performance.now() + (ms ?? 0);
  const isOver = () => (ms ? all.begun() === readers && performance.now() > over : all.finished() === readers);
  await until('the readers are through', () => isOver() || all.wrong.length > 0, PATIENCE);
  clearInterval(watch);
  all.close();
  const cpu = (cpuMs(api.pid) - before.cpu) / readers;
  return { mb: peak - before.rss, cpu, text: all.units() / 1e6, wrong: all.wrong };
}

async function login(url: string) {
  let token = '';
  const call = async <T>(path: string, body: object): Promise<T> => {
    const answer = await fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: JSON.stringify(body),
    });
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as T;
  };
  const { access_token } = await call<{ access_token: string }>('/api/v1/auth/login', {
    username: 'admin',
    password: PASSWORD,
  });
  token = access_token;
  const read = async (id: string) => {
    const answer = await fetch(`${url}/api/v1/tasks/${id}`, { headers: { authorization: `Bearer ${token}` } });
    await answer.text();
  };
  return Object.assign(call, { token, read });
}

/** Resident memory of a process in MB. */
function rss(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** What a process took of the processor so far; the kernel counts in hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
