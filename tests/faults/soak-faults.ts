import type { Backend } from './rig/case.ts';
import type { Member } from './rig/process.ts';
import type { Rig } from './rig/rig.ts';
import { lasting } from './rig/wait.ts';

/** Random numbers that are the same for the same seed (mulberry32). */
export interface Dice {
  /** From 0 to 1. */
  next(): number;
  /** A whole number of milliseconds in the range. */
  ms(from: number, to: number): number;
  pick<T>(list: readonly T[]): T;
}

export function createDice(seed: number): Dice {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    next,
    ms: (from, to) => Math.round(from + (to - from) * next()),
    pick: (list) => list[Math.floor(next() * list.length)] as (typeof list)[number],
  };
}

/** A fault of the soak: it is made and healed. */
export interface SoakFault {
  name: string;
  backends: readonly Backend[];
  make(rig: Rig, dice: Dice): Promise<void>;
}

const BOTH = ['redis', 'postgres'] as const;
const REDIS = ['redis'] as const;

async function killed(rig: Rig, member: Member, dice: Dice): Promise<void> {
  await rig.kill(member);
  await lasting(dice.ms(0, 3_000));
  await member.start({ again: true });
}

async function stopped(member: Member): Promise<void> {
  member.signal('SIGTERM');
  await member.ended();
  await member.start({ again: true });
}

/** Every kind of fault that the soak draws from. */
export const SOAK_FAULTS: readonly SoakFault[] = [
  { name: 'a worker is killed', backends: BOTH, make: (rig, dice) => killed(rig, dice.pick(rig.workers), dice) },
  {
    name: 'all workers are killed',
    backends: BOTH,
    make: async (rig, dice) => void (await Promise.all(rig.workers.map((worker) => killed(rig, worker, dice)))),
  },
  { name: 'an API is killed', backends: BOTH, make: (rig, dice) => killed(rig, dice.pick(rig.apis), dice) },
  { name: 'a worker is told to stop', backends: BOTH, make: (rig, dice) => stopped(dice.pick(rig.workers)) },
  { name: 'an API is told to stop', backends: BOTH, make: (rig, dice) => stopped(dice.pick(rig.apis)) },
  {
    name: 'a worker freezes, for longer than its lease or not',
    backends: BOTH,
    async make(rig, dice) {
      const worker = dice.pick(rig.workers);
      worker.signal('SIGSTOP');
      await lasting(dice.ms(2_000, 28_000));
      worker.signal('SIGCONT');
    },
  },
  {
    name: 'Postgres crashes',
    backends: BOTH,
    async make(rig, dice) {
      await rig.postgres.signal(dice.pick(['SIGQUIT', 'SIGKILL']));
      await lasting(dice.ms(0, 5_000));
      await rig.postgres.start();
    },
  },
  {
    name: 'Postgres freezes',
    backends: BOTH,
    async make(rig, dice) {
      await rig.postgres.signal('SIGSTOP');
      await lasting(dice.ms(500, 8_000));
      await rig.postgres.signal('SIGCONT');
    },
  },
  { name: 'the connections to Postgres are reset', backends: BOTH, make: async (rig) => rig.postgres.proxy.reset() },
  {
    name: 'the network to Postgres swallows everything',
    backends: BOTH,
    make: (rig, dice) => through(rig.postgres.proxy, { kind: 'blackhole' }, dice.ms(1_000, 10_000)),
  },
  {
    name: 'the network to Postgres is slow',
    backends: BOTH,
    make: (rig, dice) => through(rig.postgres.proxy, { kind: 'delay', ms: dice.ms(5, 40) }, dice.ms(1_000, 5_000)),
  },
  {
    name: 'Postgres takes no writes',
    backends: BOTH,
    async make(rig, dice) {
      await rig.postgres.query('alter system set default_transaction_read_only = on');
      await rig.postgres.query('select pg_reload_conf()');
      await lasting(dice.ms(1_000, 5_000));
      await rig.postgres.query('alter system reset default_transaction_read_only');
      await rig.postgres.query('select pg_reload_conf()');
    },
  },
  {
    name: 'Redis is killed',
    backends: REDIS,
    async make(rig, dice) {
      await rig.redis.signal('SIGKILL');
      await lasting(dice.ms(0, 6_000));
      await rig.redis.start();
    },
  },
  {
    name: 'Redis comes back empty',
    backends: REDIS,
    async make(rig, dice) {
      await rig.redis.signal('SIGKILL');
      await lasting(dice.ms(0, 3_000));
      await rig.redis.start({ empty: true });
    },
  },
  {
    name: 'Redis is emptied',
    backends: REDIS,
    make: async (rig) => void (await rig.redis.command('FLUSHALL')),
  },
  {
    name: 'Redis freezes',
    backends: REDIS,
    async make(rig, dice) {
      await rig.redis.signal('SIGSTOP');
      await lasting(dice.ms(1_000, 15_000));
      await rig.redis.signal('SIGCONT');
    },
  },
  { name: 'the connections to Redis are reset', backends: REDIS, make: async (rig) => rig.redis.proxy.reset() },
  {
    name: 'the network to Redis swallows everything',
    backends: REDIS,
    make: (rig, dice) => through(rig.redis.proxy, { kind: 'blackhole' }, dice.ms(1_000, 12_000)),
  },
  {
    name: 'Redis has no memory left',
    backends: REDIS,
    async make(rig, dice) {
      await rig.redis.command('CONFIG', 'SET', 'maxmemory', '1mb');
      await lasting(dice.ms(1_000, 6_000));
      await rig.redis.command('CONFIG', 'SET', 'maxmemory', '0');
    },
  },
  {
    name: 'Redis becomes a replica of nobody',
    backends: REDIS,
    async make(rig, dice) {
      await rig.redis.command('REPLICAOF', '127.0.0.1', '1');
      await lasting(dice.ms(1_000, 6_000));
      await rig.redis.command('REPLICAOF', 'NO', 'ONE');
    },
  },
  {
    name: 'the model host refuses',
    backends: BOTH,
    make: (rig, dice) => through(rig.ollama.proxy, { kind: 'refuse' }, dice.ms(1_000, 6_000)),
  },
];

type Proxied = Rig['postgres']['proxy'];

async function through(proxy: Proxied, mode: Parameters<Proxied['set']>[0], ms: number): Promise<void> {
  proxy.set(mode);
  await lasting(ms);
  proxy.set({ kind: 'pass' });
}
