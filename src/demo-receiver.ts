import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errorMessage, UsageError } from './errors.ts';
import type { PresentedTask } from './tasks/present.ts';

const WEBHOOK_TIMEOUT_MS = 20_000;

interface Delivered {
  type: string;
  data: PresentedTask;
}

/** Who is called by the tasks of the demo, and told of their ends. */
export interface Receiver {
  url: string;
  /** Greets who is named in what is posted there; for `http.request`, which needs somebody to call. */
  helloUrl: string;
  /** The secret by which the delivery of this task has to be signed. */
  expect(taskId: string, secret: string): void;
  waitFor(taskId: string): Promise<Delivered>;
  close(): void;
}

/** A receiver as a user would write it: the reference library of Standard Webhooks checks each delivery. */
export async function startReceiver(): Promise<Receiver> {
  const { Webhook } = await import('standardwebhooks').catch((error) => {
    throw new UsageError('The demo needs the development dependencies: run `npm ci`.', { cause: error });
  });
  const secrets = new Map<string, string>();
  const deliveries = new Map<string, Delivered>();
  const wakers = new Set<() => void>();

  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    try {
      if (request.url === '/hello')
        return void response
          .setHeader('content-type', 'application/json')
          .end(JSON.stringify({ greeting: `Hello, ${(JSON.parse(body) as { name: string }).name}` }));
      const { data } = JSON.parse(body) as Delivered;
      const secret = secrets.get(data.id);
      // Delivered before the answer to the submission was read: asked to come again, as a real receiver would.
      if (!secret) return void response.writeHead(503, { 'retry-after': '1' }).end();
      deliveries.set(data.id, new Webhook(secret).verify(body, request.headers as Record<string, string>) as Delivered);
      response.writeHead(204).end();
      for (const wake of wakers) wake();
    } catch (error) {
      response.writeHead(400).end(errorMessage(error));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: `${base}/hook`,
    helloUrl: `${base}/hello`,
    expect: (taskId, secret) => void secrets.set(taskId, secret),
    waitFor: (taskId) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () => reject(new UsageError('No webhook came. See why with LOG_LEVEL=info npm run demo')),
          WEBHOOK_TIMEOUT_MS,
        );
        const look = () => {
          const found = deliveries.get(taskId);
          if (!found) return;
          clearTimeout(timer);
          wakers.delete(look);
          resolve(found);
        };
        wakers.add(look);
        look();
      }),
    close: () => void server.close(),
  };
}
