import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startVectorStore } from '../../../src/embedded/vectors/server.ts';
import { createStack } from '../../../src/lifecycle.ts';
import { createLog } from '../../../src/log.ts';
import { type FakeOllama, startFakeOllama } from '../../support/fake-ollama.ts';
import { type Sink, startSink } from '../../support/sink.ts';
import { type FakeAgent, startFakeAgent } from './agent.ts';
import type { Backend, Topology } from './case.ts';
import { createRigClient, type NewTask, type RigClient } from './client.ts';
import { makeSmallDisk, type SmallDisk } from './disk.ts';
import { type RigPostgres, startRigPostgres } from './postgres.ts';
import { type Member, startMember } from './process.ts';
import { startProxy, type TcpProxy } from './proxy.ts';
import { type Readiness, watchReadiness } from './readiness.ts';
import { type RigRedis, startRigRedis } from './redis.ts';
import { freePort, must } from './wait.ts';

/** The product as processes of its own, on stores of its own, with proxies between, and everything outside of it faked. */
export interface Rig {
  backend: Backend;
  folder: string;
  postgres: RigPostgres;
  /** Not there where BullMQ keeps its jobs in Postgres. */
  redis: RigRedis;
  ollama: FakeOllama & { proxy: TcpProxy };
  agent: FakeAgent;
  sink: Sink;
  /** The real vector store with a proxy before it; there where the topology asks for it. */
  vectors: { url: string; proxy: TcpProxy } | undefined;
  /** The small file system of a store; there where the topology asks for it. */
  disk: SmallDisk | undefined;
  members: Member[];
  apis: Member[];
  workers: Member[];
  client: RigClient;
  /** What `/readyz` of each API said, four times a second. */
  readiness: Readiness;
  /** When workers were killed, for the times of rescue. */
  kills: Array<{ pid: number; at: number }>;
  /** The settings that all processes have. */
  env: Record<string, string>;
  /** A sentence or a figure for the table of results. */
  note(text: string): void;
  notes: string[];
  /** Kills a worker or an API at once and waits until it is gone. */
  kill(member: Member): Promise<void>;
  /** Starts a further process. */
  join(kind: Member['kind'], env?: Record<string, string>, nodeArgs?: string[]): Promise<Member>;
  /** A task that calls the fake agent, which takes so long to answer. */
  agentTask(sleepMs?: number, more?: Partial<NewTask>): NewTask;
  /** Set where a case itself keeps webhooks from arriving. */
  mayMissWebhooks: boolean;
  /** Set where a case leaves tasks behind on purpose, such as those that newer workers will run. */
  mayLeaveTasks: boolean;
  close(): Promise<void>;
}

/** Stores that were made ill take a while to end. */
const CLOSE_MS = 30_000;
const ADMIN = { username: 'admin', password: 'correct horse battery' };

/** Builds a rig below `folder`. @param template a cluster made by `makeTemplate` */
export async function createRig(
  folder: string,
  template: string,
  backend: Backend,
  topology: Topology = {},
): Promise<Rig> {
  await mkdir(folder, { recursive: true });
  const stack = createStack(createLog('error'), CLOSE_MS);
  try {
    return await build();
  } catch (error) {
    await stack.close();
    throw error;
  }

  async function build(): Promise<Rig> {
    const { smallDisk } = topology;
    const disk = smallDisk && makeSmallDisk(smallDisk.megabytes);
    if (disk) stack.defer('the small disk', () => disk.remove());
    const placeOf = (store: 'postgres' | 'redis') =>
      join(smallDisk?.of === store && disk ? disk.folder : folder, store);
    const [postgres, redis, ollama, agent, sink] = await Promise.all([
      startRigPostgres({ folder: placeOf('postgres'), template, settings: topology.postgres }),
      backend === 'redis' ? startRigRedis(placeOf('redis'), topology.redis) : undefined,
      startFakeOllama(),
      startFakeAgent(join(folder, 'ledger.jsonl')),
      startSink(),
    ]);
    for (const [name, part] of Object.entries({ postgres, redis, ollama, agent, sink }))
      if (part) stack.defer(name, () => part.close());
    const ollamaProxy = await startProxy(Number(new URL(ollama.url).port));
    stack.defer('the proxy of ollama', () => ollamaProxy.close());
    const vectors = topology.vectors ? await startVectors() : undefined;

    const env: Record<string, string> = {
      NODE_ENV: 'test',
      LOG_LEVEL: 'info',
      DATABASE_URL: postgres.url,
      QUEUE_BACKEND: backend,
      ...(redis ? { REDIS_URL: redis.url } : {}),
      OLLAMA_HOST: `http://127.0.0.1:${ollamaProxy.port}`,
      OLLAMA_NUM_PARALLEL: '64',
      ENABLE_VECTOR_SEARCH: String(vectors !== undefined),
      ...(vectors ? { QDRANT_URL: vectors.url } : {}),
      JWT_SECRET_KEY: 'only-for-the-rig-only-for-the-rig-only-for-the-rig',
      ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
      ADMIN_PASSWORD: ADMIN.password,
      BCRYPT_COST: '4',
      MAX_WAITING_TASKS_PER_USER: '0',
      ACCESS_TOKEN_EXPIRE_MINUTES: '1440',
      RATE_LIMIT_PER_MINUTE: '0',
      AUTH_RATE_LIMIT_PER_MINUTE: '0',
      EGRESS_ALLOW: '127.0.0.1',
      SHUTDOWN_GRACE_SECONDS: '10',
      WORKER_CONCURRENCY: '20',
      ...topology.env,
    };
    const members: Member[] = [];
    stack.defer('the processes', async () => {
      for (const member of members) {
        member.signal('SIGCONT');
        member.signal('SIGKILL');
      }
      await Promise.all(members.map((member) => member.ended()));
    });
    const join_ = async (kind: Member['kind'], more: Record<string, string> = {}, nodeArgs: string[] = []) => {
      const name = `${kind}${members.filter((member) => member.kind === kind).length}`;
      const port = kind === 'api' ? await freePort() : 0;
      const member = await startMember({ kind, name, folder, env: { ...env, ...more }, port, nodeArgs });
      members.push(member);
      return member;
    };
    // The first API makes the administrator.
    await join_('api');
    const others = Array.from({ length: (topology.apis ?? 1) - 1 }, () => () => join_('api'));
    const workers = Array.from(
      { length: topology.workers ?? 2 },
      () => () => join_('worker', topology.workerEnv, topology.workerNodeArgs),
    );
    for (const start of [...others, ...workers]) await start();

    let token = '';
    const urls = members.filter(({ kind }) => kind === 'api').map(({ url }) => url);
    const client = createRigClient(urls, () => token);
    stack.defer('the client', () => client.close());
    const login = await client.request<{ access_token: string }>('POST', '/api/v1/auth/login', { body: ADMIN });
    must(login.status === 200, `the login was answered ${login.status}: ${JSON.stringify(login.body)}`);
    token = login.body.access_token;
    const readiness = watchReadiness(urls);
    stack.defer('the watch over readiness', () => readiness.close());

    const rig: Rig = {
      backend,
      folder,
      postgres,
      redis: redis as RigRedis,
      ollama: Object.assign(ollama, { proxy: ollamaProxy }),
      agent,
      sink,
      vectors,
      disk,
      members,
      get apis() {
        return members.filter(({ kind }) => kind === 'api');
      },
      get workers() {
        return members.filter(({ kind }) => kind === 'worker');
      },
      client,
      readiness,
      kills: [],
      env,
      notes: [],
      note: (text) => rig.notes.push(text),
      async kill(member) {
        if (member.kind === 'worker') rig.kills.push({ pid: member.pid, at: Date.now() });
        member.signal('SIGKILL');
        await member.ended();
      },
      join: join_,
      agentTask: (sleepMs = 0, more = {}) => ({
        type: 'http.request',
        input: { method: 'POST', url: agent.url, body: { sleep_ms: sleepMs } },
        ...more,
      }),
      mayMissWebhooks: false,
      mayLeaveTasks: false,
      close: stack.close,
    };
    return rig;
  }

  async function startVectors(): Promise<{ url: string; proxy: TcpProxy }> {
    const store = await startVectorStore({ dataDir: join(folder, 'vectors'), log: createLog('silent') });
    stack.defer('the vector store', () => store.close());
    const proxy = await startProxy(Number(new URL(store.url).port));
    stack.defer('the proxy of the vector store', () => proxy.close());
    return { url: `http://127.0.0.1:${proxy.port}`, proxy };
  }
}
