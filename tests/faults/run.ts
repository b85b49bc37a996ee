import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CASES } from './cases/index.ts';
import { writeReport } from './report.ts';
import { BACKENDS, type Backend, type FaultCase } from './rig/case.ts';
import { createRoom } from './rig/room.ts';
import { type Result, renderLine, runCase } from './rig/run-case.ts';
import { makeTemplate } from './rig/template.ts';
import { takeTurn } from './rig/turn.ts';

const HELP = `npm run faults -- [options] [fault ...]

Makes faults on purpose and looks whether anything accepted was lost or done twice.
Without names it runs every case on every queue backend it applies to.

  F5 F17             only these faults
  --quick            only those that run with every change
  --backend <name>   only on redis, or only on postgres
  --jobs <n>         cases at a time at most (1), fewer while the processors are busy; those that measure run alone all the same
  --write            write the results into the table of docs/reliability.md
  --keep             keep the folders of cases that passed too (those that failed are always kept)
  --list             only say which cases there are`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    backend: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    write: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function choose(): Array<{ fault: FaultCase; backend: Backend }> {
  const wanted = positionals.map((id) => id.toUpperCase());
  const unknown = wanted.find((id) => !CASES.some((fault) => fault.id === id));
  if (unknown) fail(`There is no fault ${unknown}; there are ${[...new Set(CASES.map(({ id }) => id))].join(', ')}.`);
  if (values.backend && !(BACKENDS as readonly string[]).includes(values.backend))
    fail(`There is no backend ${values.backend}; there are ${BACKENDS.join(' and ')}.`);
  return CASES.filter((fault) => wanted.length === 0 || wanted.includes(fault.id))
    .filter(({ quick }) => !values.quick || quick)
    .flatMap((fault) => (fault.backends ?? BACKENDS).map((backend) => ({ fault, backend })))
    .filter(({ backend }) => !values.backend || backend === values.backend);
}

function fail(text: string): never {
  console.error(`${text}\n\n${HELP}`);
  process.exit(2);
}

async function main(): Promise<void> {
  if (values.help) return console.log(HELP);
  const jobs = Number(values.jobs);
  if (!Number.isInteger(jobs) || jobs < 1) fail('--jobs wants a whole number from 1.');
  const chosen = choose();
  if (values.list) {
    for (const { fault, backend } of chosen) console.log(`${fault.id.padEnd(4)} ${backend.padEnd(9)} ${fault.title}`);
    return;
  }
  await takeTurn();
  // What a case had under way when its time was over fails later; the case has failed already, and the others go on.
  process.on('unhandledRejection', (error) => console.error(`left over of a case: ${String(error)}`));
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-faults-'));
  const started = Date.now();
  console.log(`${chosen.length} cases; logs in ${folder}`);
  const template = await makeTemplate(folder);
  const results: Result[] = [];
  const room = createRoom();

  async function work(queue: typeof chosen): Promise<void> {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const name = `${next.fault.id}-${next.backend}-${results.length}-${Math.random().toString(36).slice(2, 6)}`;
      await room.enter();
      const result = await runCase(next.fault, next.backend, join(folder, name), template);
      room.leave();
      results.push(result);
      console.log(renderLine(result));
      // At once: a run of most of an hour may be broken off.
      if (values.write) writeReport([result], CASES);
      if (!values.keep && result.problems.length === 0) await rm(join(folder, name), { recursive: true, force: true });
    }
  }
  // Those that take longest first, so that none is left to be waited for in the end.
  const together = chosen
    .filter(({ fault }) => !fault.alone)
    .sort((a, b) => (b.fault.withinSeconds ?? 0) - (a.fault.withinSeconds ?? 0));
  const apart = chosen.filter(({ fault }) => fault.alone);
  await Promise.all(Array.from({ length: jobs }, () => work(together)));
  await work(apart);

  const failed = results.filter(({ problems }) => problems.length > 0);
  const seconds = Math.round((Date.now() - started) / 1000);
  console.log(`\n${results.length - failed.length} passed, ${failed.length} failed`);
  console.log(`in ${seconds} s`);
  if (failed.length === 0 && !values.keep) await rm(folder, { recursive: true, force: true });
  process.exit(failed.length > 0 ? 1 : 0);
}

// What was started ends with this process.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(130));
await main();
