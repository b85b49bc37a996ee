import type { PresentedTask } from '../../src/tasks/present.ts';
import type { Hit, SearchMode } from '../../src/tasks/tools.ts';
import { dataFolder, startProduct } from '../support/product.ts';
import { readText } from '../support/sources.ts';
import type { Found } from './score.ts';

/** A started product that holds pages. */
export interface Library {
  pages: number;
  chunks: number;
  /** What made the vectors. */
  model: string;
  /** How long it took until all was there. */
  seconds: number;
  /** What is found for a question, the best first. */
  search(question: string, mode: SearchMode, limit: number): Promise<Found>;
  close(): Promise<void>;
}

const COLLECTION = 'pages';

/** On a busy machine the embedded parts may be long in coming. */
const PATIENCE_MS = 120_000;

type Ask = <T>(path: string, body?: unknown, until?: number) => Promise<T>;

/** Starts a product of its own, on nothing but its embedded parts, and ingests the pages through its API. */
export async function startLibrary(pages: string[]): Promise<Library> {
  const folder = dataFolder();
  const env = { ...folder.env, LEASE_SECONDS: '20', RATE_LIMIT_PER_MINUTE: '0', LOG_LEVEL: 'warn' };
  const product = await startProduct(['start'], env);
  const close = async () => {
    await product.stop('SIGTERM');
    await folder.remove();
  };
  try {
    const ask = await logIn(product.url, folder.adminPassword());
    const began = performance.now();
    const { embedding_model } = await ask<{ embedding_model: string }>('collections', { name: COLLECTION });
    const tasks = await Promise.all(pages.map((page) => ingest(ask, page)));
    const chunks = tasks.reduce((sum, task) => sum + (task.output as { chunks: number }).chunks, 0);
    const seconds = Math.round((performance.now() - began) / 1000);
    return {
      ...{ pages: pages.length, chunks, model: embedding_model, seconds, close },
      async search(query, mode, limit) {
        const { hits } = await ask<{ hits: Hit[] }>(`collections/${COLLECTION}/search`, { query, mode, limit });
        return hits.map(({ payload, text = '' }) => ({
          page: String(payload.title),
          headings: String(payload.heading).split(' > '),
          text,
        }));
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function logIn(url: string, password: string): Promise<Ask> {
  let token: string | undefined;
  const ask: Ask = async (path, body, until = performance.now() + PATIENCE_MS) => {
    const answer = await fetch(`${url}/api/v1/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: {
        'content-type': 'application/json',
        prefer: 'wait=55',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.status === 503 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 1_000 * Number(answer.headers.get('retry-after') ?? 1)));
      return ask(path, body, until);
    }
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
    return (await answer.json()) as never;
  };
  const login = { username: 'admin', password };
  token = (await ask<{ access_token: string }>('auth/login', login)).access_token;
  return ask;
}

async function ingest(ask: Ask, page: string): Promise<PresentedTask> {
  const input = { collection: COLLECTION, text: readText(page), title: page, content_type: 'text/markdown' };
  let task = await ask<PresentedTask>('tasks', { type: 'document.ingest', input });
  while (!task.completed_at) task = await ask<PresentedTask>(`tasks/${task.id}`);
  if (task.status !== 'completed') throw new Error(`${page} was not ingested: ${JSON.stringify(task.error)}`);
  return task;
}
