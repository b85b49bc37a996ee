import { join } from 'node:path';
import { type Config, loadConfig, readDotEnv } from './config.ts';
import { type Receiver, startReceiver } from './demo-receiver.ts';
import { type Running, run } from './deps.ts';
import { UsageError } from './errors.ts';
import { createLog } from './log.ts';
import type { PresentedTask } from './tasks/present.ts';

const TASK_TIMEOUT_MS = 180_000;
/** The lines that `vector.search` picks from; the kettle is the right one for its example. */
const NOTES = [
  'The kettle is in the kitchen.',
  'Rockets carry people to the moon.',
  'The bank closes at five on Fridays.',
  'Rabbits dig holes in the garden.',
];

interface TaskType {
  name: string;
  title: string;
  examples: Array<Record<string, unknown>>;
}

/** Starts everything, runs one task of each kind through the HTTP API, shows what came of it, and stops again. */
export async function demo(): Promise<void> {
  readDotEnv();
  const receiver = await startReceiver();
  const env = { ...process.env };
  const config = loadConfig({
    ...env,
    PORT: '0',
    LOG_LEVEL: env.LOG_LEVEL ?? 'error',
    DATA_DIR: join(env.DATA_DIR || '.data', 'demo'),
    // The receiver of the demo is on this machine, which users' URLs may not reach otherwise.
    EGRESS_ALLOW: [env.EGRESS_ALLOW, '127.0.0.1'].filter(Boolean).join(','),
  });
  const started = Date.now();
  const stopping = new AbortController();
  let start: Promise<Running> | undefined;
  const interrupted = async () => {
    if (stopping.signal.aborted) process.exit(130);
    say('Stopping …');
    stopping.abort();
    await (await start?.catch(() => undefined))?.close();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, interrupted);
  say('Starting what is not configured: Postgres, a model server and a vector store …');
  start = run(config, 'start', createLog(config.logLevel, { format: config.logFormat }), stopping.signal);
  await start
    .then((running) => show(running, config, receiver, started))
    .catch((error) => {
      if (!stopping.signal.aborted) throw error;
      // The exit is the business of whoever stops.
      return new Promise<never>(() => {});
    });
  say(`Stopped cleanly after ${seconds(started)}. Next: \`npm start\`, then the curl session in README.md.`);
  process.exit(0);
}

async function show(running: Running, config: Config, receiver: Receiver, started: number): Promise<void> {
  try {
    const url = running.url as string;
    say(
      `Up at ${url} after ${seconds(started)}: ${running.services.databaseKind}, BullMQ on ${config.queue.backend}, ${running.services.modelsKind}, ${running.services.vectorsKind}\n`,
    );
    const password = config.auth.adminPassword ?? running.services.adminPassword;
    if (!password)
      throw new UsageError('The demo logs in as the first administrator: set ADMIN_PASSWORD to its password.');
    const call = await login(url, password);
    say('Logged in as admin.\n');

    const { data: types } = (await call('GET', '/api/v1/task-types')) as { data: TaskType[] };
    let last = '';
    const agent = (await call('POST', '/api/v1/agents', {
      ...{ name: `greeter-${Date.now()}`, type: 'http', endpoint: receiver.helloUrl },
      config: { response: { output: 'body.greeting' } },
    })) as { id: string };
    // The configured vector store may have a collection of the name that the examples have.
    const collection = `demo-${Date.now()}`;
    const inputs = {
      'vector.upsert': { collection, points: NOTES.map((text, index) => ({ id: index, text })) },
      'http.request': { method: 'POST', url: receiver.helloUrl, body: { name: 'Ada' } },
      'vector.delete': { collection, ids: [NOTES.length - 1] },
      'agent.run': { agent: agent.id, input: { name: 'Grace' } },
    } as Record<string, Record<string, unknown>>;
    try {
      for (const type of types) {
        const input = inputs[type.name] ?? type.examples[0] ?? {};
        last = (await runExample(call, type, 'collection' in input ? { ...input, collection } : input, receiver)).id;
      }
    } finally {
      // Why the demo failed is what counts, and not that the collection was not there yet.
      const forget = (path: string) => call('DELETE', path).catch(() => {});
      await forget(`/api/v1/agents/${agent.id}`);
      if (config.vectors.enabled) await forget(`/api/v1/collections/${collection}`);
    }

    const received = await receiver.waitFor(last);
    say(
      `\nWebhook received and its signature verified: ${received.type} for ${received.data.type}, ${received.data.id}`,
    );
    const { data: tasks } = (await call('GET', '/api/v1/tasks?limit=200')) as { data: PresentedTask[] };
    say(
      `Tasks in the ledger: ${tasks.length}, completed: ${tasks.filter(({ status }) => status === 'completed').length}`,
    );
    say(
      `The queue dashboard was at ${url}/admin/queues; \`npm start\` keeps it up at http://127.0.0.1:${loadConfig().http.port}/admin/queues`,
    );
  } finally {
    await running.close();
    receiver.close();
  }
}

type Call = (method: string, path: string, body?: unknown) => Promise<unknown>;

async function login(url: string, password: string): Promise<Call> {
  let token: string | undefined;
  const call: Call = async (method, path, body) => {
    const answer = await fetch(url + path, {
      method,
      headers: { 'content-type': 'application/json', ...(token ? { authorization: `Bearer ${token}` } : {}) },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const json = (answer.status === 204 ? {} : await answer.json()) as Record<string, unknown>;
    if (!answer.ok) throw new UsageError(`${method} ${path} answered ${answer.status}: ${json.detail}`);
    return json;
  };
  ({ access_token: token } = (await call('POST', '/api/v1/auth/login', { username: 'admin', password })) as {
    access_token: string;
  });
  return call;
}

async function runExample(call: Call, type: TaskType, input: unknown, receiver: Receiver): Promise<PresentedTask> {
  const started = Date.now();
  const submitted = (await call('POST', '/api/v1/tasks', {
    type: type.name,
    input,
    webhook: { url: receiver.url },
  })) as PresentedTask & { webhook_secret: string };
  receiver.expect(submitted.id, submitted.webhook_secret);
  say(`▸ ${type.name} (${type.title}) accepted as ${submitted.id}`);

  let task: PresentedTask = submitted;
  while (!['completed', 'failed', 'cancelled', 'expired'].includes(task.status)) {
    if (Date.now() - started > TASK_TIMEOUT_MS)
      throw new UsageError(`The ${type.name} task did not end in time. See why with LOG_LEVEL=info npm run demo`);
    await new Promise((resolve) => setTimeout(resolve, 100));
    task = (await call('GET', `/api/v1/tasks/${submitted.id}`)) as PresentedTask;
    showProgress(task);
  }
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  if (task.status !== 'completed')
    throw new UsageError(
      `The ${type.name} task ${task.status}: ${task.error?.message}. See more with LOG_LEVEL=info npm run demo`,
    );
  say(
    `  ${task.status} in ${seconds(started)}${task.model ? `, by ${task.model}` : ''}${usage(task)}\n  ${summary(task.output)}`,
  );
  return task;
}

function showProgress({ status, progress }: PresentedTask): void {
  if (!process.stdout.isTTY) return;
  const percent = progress?.percent ?? null;
  const bar =
    percent === null ? '' : ` [${'█'.repeat(Math.round(percent / 5)).padEnd(20, '·')}] ${Math.round(percent)} %`;
  process.stdout.write(`\r\x1b[K  ${status}${bar}${progress?.message ? ` ${progress.message}` : ''}`);
}

function usage({ usage }: PresentedTask): string {
  return usage ? ` (${usage.input_tokens} tokens in, ${usage.output_tokens} out)` : '';
}

/** A line or two of an output; vectors are cut. */
function summary(output: unknown): string {
  const text = JSON.stringify(output, (_, value) =>
    Array.isArray(value) && typeof value[0] === 'number' && value.length > 4
      ? [...value.slice(0, 3), `… ${value.length} numbers`]
      : value,
  );
  return text.length > 400 ? `${text.slice(0, 400)} …` : text;
}

function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

function say(text: string): void {
  console.log(text);
}
