import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from 'undici';
import { defineBench, machine, quantile, table } from '../bench.ts';
import { choice, number, whole } from '../options.ts';
import { BACKENDS } from '../rig/builds.ts';
import { startModel } from '../rig/model.ts';
import { makeUsers, openProduct } from '../rig/product.ts';
import { cpuOf, used } from '../rig/usage.ts';
import { createUser, WAYS, type Way } from './user.ts';

/** What submitting may take at the 95th percentile. */
const ALLOWED_MS = 150;

const USAGE = {
  about:
    'Many users at once, each with a pause between what it does: it logs in, submits, and polls, follows the events or gets a webhook',
  options: {
    users: whole(1_000, 'users'),
    seconds: whole(60, 'how long they go on'),
    think: number(5, 'seconds of a pause, on average'),
    model: number(200, 'milliseconds that the model takes'),
    bcrypt: whole(8, 'BCRYPT_COST', [4, 15]),
    backend: choice('redis', BACKENDS, 'where the product has its jobs'),
  },
};

export const bench = defineBench(USAGE, async (values) => {
  const { users: count, seconds, think } = values;
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-bench-'));
  const model = await startModel(folder);
  await model.setDelay(values.model);
  const product = await openProduct({
    ...{ folder, model, backend: values.backend, users: 0 },
    env: { EGRESS_ALLOW: '127.0.0.1', BCRYPT_COST: String(values.bcrypt) },
  });
  const url = product.urls[0] as string;
  const agent = new Agent({ connections: null, keepAliveTimeout: 60_000, bodyTimeout: 0 });
  // The message may come before the answer to the submission.
  const arrivals = new Map<string, PromiseWithResolvers<void>>();
  const arrivalOf = (id: string) => {
    const known = arrivals.get(id) ?? Promise.withResolvers<void>();
    arrivals.set(id, known);
    return known;
  };
  const receiver = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      response.writeHead(204).end();
      arrivalOf((JSON.parse(text) as { data: { id: string } }).data.id).resolve();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  try {
    console.log(
      `${count} users for ${seconds} s, each with a pause of ${think} s on average; a model that takes ${values.model} ms; bcrypt of cost ${values.bcrypt}; the product on ${values.backend}. ${machine()}, Postgres 18 from npm.\n`,
    );
    const { names } = await makeUsers(product.database, count, values.bcrypt);
    const before = cpuOf(product.processes);
    const began = performance.now();
    const until = began + seconds * 1000;
    const log = {
      submit: [] as number[],
      login: [] as number[],
      later: 0,
      ends: Object.fromEntries(WAYS.map((way) => [way, []])) as unknown as Record<Way, number[]>,
      wrong: [] as string[],
    };
    const webhook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`;
    // All come within the first fifth of the time.
    await Promise.all(
      names.map(async (name, index) => {
        await pause((index / count) * seconds * 200);
        await createUser({
          name,
          url,
          agent,
          webhook,
          log,
          until,
          arrival: (id) => arrivalOf(id).promise,
          think: () => pause(Math.random() * 2_000 * think),
        });
      }),
    );
    const tasks = log.submit.length;
    const cpu = used(before, cpuOf(product.processes));
    const line = (what: string, times: number[]) => [
      what,
      times.length.toLocaleString('en'),
      ...[0.5, 0.95, 0.99].map((part) => quantile(times, part).toFixed(1)),
      Math.max(...times).toFixed(0),
    ];
    console.log(
      table([
        ['what', 'times', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms'],
        line('log in', log.login),
        line('submit', log.submit),
        ...WAYS.map((way) => line(`from submission to the end, ${way}`, log.ends[way])),
      ]),
    );
    const cores = Object.entries(cpu).map(([name, ms]) => `${name} ${(ms / seconds / 1000).toFixed(2)}`);
    console.log(
      `\n${tasks} tasks, ${log.wrong.length} errors; logins were told to come later ${log.later} times. Cores busy: ${cores.join(', ')}.`,
    );
    // What was refused for the same reason differs in ids and addresses alone, which come later.
    for (const alike of Map.groupBy(log.wrong, (wrong) => wrong.slice(0, 60)).values())
      console.error(`wrong, ${alike.length} times: ${alike[0]}`);
    return log.wrong.length === 0 && quantile(log.submit, 0.95) <= ALLOWED_MS;
  } finally {
    await agent.destroy();
    receiver.closeAllConnections();
    receiver.close();
    await product.close();
    await model.close();
    await rm(folder, { recursive: true, force: true });
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
