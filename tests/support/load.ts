import { Agent, request } from 'node:http';

/** One request on a connection of its own, so that nothing hides what a reload of the gateway does to it. */
export function ask(
  url: string,
  { method = 'GET', headers = {}, body }: { method?: string; headers?: Record<string, string>; body?: unknown } = {},
): Promise<{ status: number; servedBy: string; body: Record<string, unknown> }> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const asked = request(url, {
      method,
      agent: new Agent({ keepAlive: false }),
      headers: { ...(text ? { 'content-type': 'application/json' } : {}), ...headers },
    });
    asked.once('error', reject);
    asked.once('response', async (answer) => {
      try {
        let all = '';
        for await (const piece of answer) all += piece;
        resolve({
          status: answer.statusCode ?? 0,
          servedBy: String(answer.headers['x-served-by']),
          body: all.startsWith('{') ? JSON.parse(all) : {},
        });
      } catch (error) {
        reject(error);
      }
    });
    asked.end(text);
  });
}

/** Requests that go on until they are told to stop. */
export interface Load {
  /** Tasks that were accepted. */
  ids: string[];
  /** Every answer that was not as it should be, and every connection that broke. */
  failed: string[];
  /** Who gave the last answers, the newest last. */
  servedBy: string[];
  stop(): Promise<void>;
}

/** Submits tasks and reads them, so many at a time. */
export function startLoad(url: string, token: string, atOnce: number): Load {
  const load = { ids: [] as string[], failed: [] as string[], servedBy: [] as string[] };
  const headers = { authorization: `Bearer ${token}` };
  let over = false;

  async function expectStatus(status: number, what: string, asked: ReturnType<typeof ask>) {
    try {
      const answer = await asked;
      load.servedBy.push(answer.servedBy);
      if (answer.status === status) return answer.body;
      load.failed.push(`${what} was answered with ${answer.status} by ${answer.servedBy}`);
    } catch (error) {
      load.failed.push(`${what} broke: ${error}`);
    }
  }

  async function one(): Promise<void> {
    while (!over) {
      const body = { type: 'echo', input: { message: 'x' } };
      const task = await expectStatus(202, 'POST', ask(`${url}/api/v1/tasks`, { method: 'POST', headers, body }));
      if (!task) continue;
      load.ids.push(task.id as string);
      await expectStatus(200, 'GET', ask(`${url}/api/v1/tasks/${task.id}`, { headers }));
    }
  }
  const all = Array.from({ length: atOnce }, one);
  return {
    ...load,
    async stop() {
      over = true;
      await Promise.all(all);
    },
  };
}
