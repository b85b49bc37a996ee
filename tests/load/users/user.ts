import { type Agent, request } from 'undici';
import { PASSWORD } from '../rig/product.ts';

/** How a user learns of the end of a task. */
export const WAYS = ['by asking again', 'by its events', 'by a webhook'] as const;
export type Way = (typeof WAYS)[number];

interface Options {
  name: string;
  url: string;
  agent: Agent;
  webhook: string;
  /** Resolves when the receiver of webhooks was told of the end of a task. */
  arrival: (id: string) => Promise<void>;
  log: { submit: number[]; login: number[]; later: number; ends: Record<Way, number[]>; wrong: string[] };
  until: number;
  think: () => Promise<void>;
}

const PATIENCE_MS = 60_000;
const ASK_EVERY_MS = 500;

/** Logs in and submits one task after the other; resolves when the time is over. */
export async function createUser({ name, url, agent, webhook, arrival, log, until, think }: Options): Promise<void> {
  const began = performance.now();
  const token = await logIn().catch((error) => void log.wrong.push(`login: ${error}`));
  log.login.push(performance.now() - began);
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };

  /** Who is told to come later does so, as any client is to. */
  async function logIn(): Promise<string> {
    for (;;) {
      const answer = await request(`${url}/api/v1/auth/login`, {
        ...{ method: 'POST', headers: { 'content-type': 'application/json' }, dispatcher: agent },
        body: JSON.stringify({ username: name, password: PASSWORD }),
      });
      const text = await answer.body.text();
      if (answer.statusCode === 200) return (JSON.parse(text) as { access_token: string }).access_token;
      const seconds = Number(answer.headers['retry-after']);
      if (answer.statusCode !== 503 || !seconds) throw new Error(`answered ${answer.statusCode}: ${text}`);
      log.later++;
      await pause(1_000 * seconds);
    }
  }

  async function call(method: 'GET' | 'POST', path: string, good: number, body?: object) {
    const answer = await request(url + path, {
      ...{ method, headers, dispatcher: agent },
      body: body && JSON.stringify(body),
    });
    const text = await answer.body.text();
    if (answer.statusCode !== good)
      throw new Error(`${method} ${path.slice(0, 13)} answered ${answer.statusCode}: ${text}`);
    return JSON.parse(text) as { id: string; status: string; output: unknown };
  }

  const ends: Record<Way, (id: string) => Promise<void>> = {
    async 'by asking again'(id) {
      while ((await call('GET', `/api/v1/tasks/${id}`, 200)).status !== 'completed') await pause(ASK_EVERY_MS);
    },
    async 'by its events'(id) {
      const answer = await request(`${url}/api/v1/tasks/${id}/events`, { headers, dispatcher: agent });
      const text = await answer.body.text();
      if (!text.includes('event: completed')) throw new Error(`the events ended with ${text.slice(-200)}`);
    },
    'by a webhook': arrival,
  };

  for (let turn = Math.floor(Math.random() * 3); token && performance.now() < until; turn++) {
    const way = WAYS[turn % WAYS.length] as Way;
    try {
      const at = performance.now();
      const prompt = 'Once upon a time there was a small robot that counted the stars, one by one, until the morning.';
      const { id } = await call('POST', '/api/v1/tasks', 202, {
        type: 'generate',
        input: { model: 'tinyllama', prompt },
        priority: 1 + (turn % 10),
        ...(way === 'by a webhook' ? { webhook: { url: webhook } } : {}),
      });
      log.submit.push(performance.now() - at);
      await within(ends[way](id), `an end ${way}`);
      log.ends[way].push(performance.now() - at);
    } catch (error) {
      log.wrong.push(`${error}`);
    }
    await think();
  }
}

async function within(promise: Promise<void>, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE_MS);
  });
  await Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
