import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, writeSection } from './report.ts';
import { BACKENDS, type Backend } from './rig/case.ts';
import { judge } from './rig/oracle.ts';
import { createRig, type Rig } from './rig/rig.ts';
import { rescueFigure } from './rig/run-case.ts';
import { emptyLanes, footprint, footprintAfter, settle } from './rig/settle.ts';
import { makeTemplate } from './rig/template.ts';
import { takeTurn } from './rig/turn.ts';
import { lasting, quantile } from './rig/wait.ts';
import { createDice, type Dice, SOAK_FAULTS, type SoakFault } from './soak-faults.ts';

const HELP = `npm run soak -- [options]

Random faults under load, round after round; every accepted task must end, once.

  --rounds <n>       rounds (100)
  --tasks <n>        tasks a round (2000)
  --rate <n>         submissions a second (400)
  --backend <name>   redis (the default) or postgres
  --only <words>     draw only faults whose names contain this, such as "reset"
  --seed <n>         the same seed draws the same faults; printed at the start
  --write            write the result into docs/reliability.md

Ctrl-C ends it after the next round, with a result.`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    tasks: { type: 'string', default: '2000' },
    rate: { type: 'string', default: '400' },
    backend: { type: 'string', default: 'redis' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    only: { type: 'string', default: '' },
    write: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** In a fifth of the rounds two faults come together. */
const TOGETHER = 0.2;
const DRAIN_MS = 180_000;
/** So many rounds follow each other without a pause; then everything has to end before the next. */
const ROUNDS_WITHOUT_PAUSE = 5;

interface Round {
  faults: string[];
  /** Milliseconds from the last fault healed to nothing waiting any more, where that was waited for. */
  drainMs: number | undefined;
}

function number(name: 'rounds' | 'tasks' | 'rate' | 'seed'): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < 1) {
    console.error(`--${name} wants a whole number from 1.\n\n${HELP}`);
    process.exit(2);
  }
  return value;
}

async function soak(): Promise<void> {
  if (values.help) return console.log(HELP);
  if (!(BACKENDS as readonly string[]).includes(values.backend)) {
    console.error(`There is no backend ${values.backend}; there are ${BACKENDS.join(' and ')}.\n\n${HELP}`);
    process.exit(2);
  }
  const backend = values.backend as Backend;
  if (!draw(createDice(1), backend)[0]) {
    console.error(
      `No fault of ${backend} is named like "${values.only}": ${SOAK_FAULTS.map(({ name }) => name).join(', ')}.`,
    );
    process.exit(2);
  }
  const [rounds, tasks, rate, seed] = [number('rounds'), number('tasks'), number('rate'), number('seed')];
  const dice = createDice(seed);
  await takeTurn();
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-soak-'));
  console.log(`${rounds} rounds of ${tasks} tasks on ${backend}, seed ${seed}; logs in ${folder}`);
  const started = Date.now();
  const rig = await createRig(join(folder, 'rig'), await makeTemplate(folder), backend, {
    apis: 2,
    workers: 3,
    env: { WORKER_CONCURRENCY: '40' },
  });
  const done: Round[] = [];
  const problems: string[] = [];
  const before = await footprint(rig);
  let last = rounds;
  process.once('SIGINT', () => {
    last = Math.min(rounds, done.length + 2);
    console.log(`stops after round ${last}`);
  });
  try {
    for (let round = 1; round <= last; round++) {
      const faults = draw(dice, backend);
      const pause = round % ROUNDS_WITHOUT_PAUSE === 0 || round >= last;
      const drainMs = await runRound(rig, dice, faults, { tasks, rate, pause });
      done.push({ faults: faults.map(({ name }) => name), drainMs });
      const names = faults.map(({ name }) => name).join(' + ');
      const drained = drainMs === undefined ? '' : `; all ended ${seconds(drainMs)} s later`;
      console.log(
        `${String(round).padStart(4)}/${rounds}  ${String(rig.client.book.accepted.size).padStart(7)} accepted  ${names}${drained}`,
      );
    }
  } catch (error) {
    problems.push(`round ${done.length + 1}: ${(error as Error).message}`);
    console.error(`! ${problems[0]}`);
    if (!(await rig.postgres.alive())) await rig.postgres.start();
  }
  const verdict = await judge(rig);
  problems.push(...verdict.violations, ...(await emptyLanes(rig)));
  const after = await footprintAfter(rig, before);
  const slowest = quantile(rig.client.book.waits, 1);
  const lines = [
    `${done.length} rounds, ${done.flatMap(({ faults }) => faults).length} faults, seed ${seed}, ${Math.round((Date.now() - started) / 60_000)} minutes on ${backend}`,
    `${verdict.accepted} accepted, ${verdict.lost} lost, ${verdict.duplicated} with two outputs; ${rig.agent.ledger.length} calls of the agent`,
    `everything had ended after the last of ${ROUNDS_WITHOUT_PAUSE} faults in a row: p50 ${seconds(quantile(drains(done), 0.5))} s, p100 ${seconds(quantile(drains(done), 1))} s`,
    ...(verdict.rescues.length > 0 ? [`${rescueFigure(verdict.rescues)}, other faults at the same time included`] : []),
    `answers to submissions: ${[...rig.client.book.answers].map(([status, n]) => `${n} × ${status || 'broken off'}`).join(', ')}; the slowest after ${seconds(slowest)} s`,
    `connections to Postgres ${before.connections} → ${after.connections}`,
  ];
  console.log(`\n${lines.join('\n')}`);
  for (const problem of problems) console.error(`! ${problem}`);
  await rig.close();
  if (values.write)
    writeSection(
      'soak',
      [describeMachine(), '', ...lines.map((line) => `- ${line}`), ...problems.map((text) => `- **${text}**`)].join(
        '\n',
      ),
    );
  if (problems.length === 0) await rm(folder, { recursive: true, force: true });
  process.exit(problems.length === 0 ? 0 : 1);
}

const drains = (done: Round[]) => done.flatMap(({ drainMs }) => (drainMs === undefined ? [] : [drainMs]));
const seconds = (ms: number) => (ms / 1000).toFixed(1);

function draw(dice: Dice, backend: Backend): SoakFault[] {
  const fitting = SOAK_FAULTS.filter(({ name, backends }) => backends.includes(backend) && name.includes(values.only));
  const first = dice.pick(fitting);
  if (dice.next() >= TOGETHER) return [first];
  // Two that work on the same part would heal each other.
  const part = ({ name }: SoakFault) => /worker|API|Postgres|Redis|model/.exec(name)?.[0];
  const others = fitting.filter((fault) => part(fault) !== part(first));
  return others.length > 0 ? [first, dice.pick(others)] : [first];
}

async function runRound(
  rig: Rig,
  dice: Dice,
  faults: SoakFault[],
  { tasks, rate, pause }: { tasks: number; rate: number; pause: boolean },
): Promise<number | undefined> {
  const load = Promise.all(
    Array.from({ length: 16 }, (_, lane) => submitSome(rig, dice, Math.ceil(tasks / 16), rate / 16, lane)),
  );
  await lasting(dice.ms(200, 3_000));
  await Promise.all(faults.map((fault) => fault.make(rig, dice)));
  const healed = Date.now();
  await load;
  if (!pause) return undefined;
  await settle(rig, DRAIN_MS);
  return Date.now() - healed;
}

async function submitSome(rig: Rig, dice: Dice, count: number, rate: number, lane: number): Promise<void> {
  const started = Date.now();
  for (let at = 0; at < count; at++) {
    await lasting(Math.max(0, started + ((at + lane / 16) / rate) * 1000 - Date.now()));
    await rig.client.insist(someTask(rig, dice), { key: randomUUID() });
  }
}

function someTask(rig: Rig, dice: Dice) {
  const priority = 1 + Math.floor(dice.next() * 10);
  const webhook = dice.next() < 0.02 ? { webhook: { url: rig.sink.url, events: ['task.completed'] } } : {};
  const kind = dice.next();
  if (kind < 0.5)
    return rig.agentTask(dice.next() < 0.02 ? dice.ms(500, 3_000) : dice.ms(0, 30), { priority, ...webhook });
  if (kind < 0.8) return { type: 'echo', input: { message: `${kind}` }, priority, ...webhook };
  return { type: 'chat', input: { messages: [{ role: 'user', content: 'hello' }] }, priority, ...webhook };
}

await soak();
