import type { Logger } from '../log.ts';
import type { Readiness } from './readiness.ts';
import { type HealthAnswer, type HealthServer, startHealthServer } from './server.ts';

/** The health port of a process, from before it is up until it has ended. */
export interface Health {
  /** Where it listens; `undefined` where no port is configured. */
  url: string | undefined;
  /** Answers a further path there. */
  serve(path: string, answer: () => Promise<HealthAnswer>): void;
  /** The process is up: how ready it is, and what is wrong with it although its loop turns. */
  up(readiness: Readiness, problems: () => string[]): void;
  /** The process takes nothing more. */
  stopping(): void;
  close(): Promise<void>;
}

/** Opens it, where a port is configured. @throws UsageError when the port cannot be opened */
export async function openHealth(
  { host, port }: { host: string; port: number | undefined },
  log: Logger,
): Promise<Health> {
  const paths = new Map<string, () => Promise<HealthAnswer>>();
  let problems: () => string[] = () => [];
  let ready = notReady('starting');
  paths.set('/readyz', () => ready());

  const server: HealthServer | undefined =
    port === undefined
      ? undefined
      : await startHealthServer({
          host,
          port,
          problems: () => problems(),
          answer: async (path) => paths.get(path)?.(),
          log,
        });
  if (server) log.info({ url: server.url }, 'the health port is open');
  return {
    url: server?.url,
    serve: (path, answer) => void paths.set(path, answer),
    up(readiness, nowWrong) {
      problems = nowWrong;
      ready = async () => {
        const { status, body } = await readiness.ask();
        return json(status, body);
      };
    },
    stopping() {
      problems = () => [];
      ready = notReady('stopping');
    },
    close: async () => server?.close(),
  };
}

const json = (status: number, body: object): HealthAnswer => ({
  status,
  type: 'application/json',
  body: JSON.stringify(body),
});
const notReady = (status: string) => async () => json(503, { status });
