import { loadConfig } from './config.ts';
import { type Mode, run } from './deps.ts';
import { createLog } from './log.ts';

/** What stopping may take beyond the grace before the process ends all the same; five seconds are promised. */
const EXTRA_SHUTDOWN_MS = 4_700;

/** Runs until a signal says stop; then gives everything back and exits, at the latest some seconds after the grace. */
export async function serve(mode: Mode, env: Record<string, string | undefined>): Promise<void> {
  const config = loadConfig(env);
  const log = createLog(config.logLevel, { format: config.logFormat });
  const stopping = new AbortController();
  let up = false;

  const stop = async (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) process.exit(130);
    const { graceSeconds } = config.worker;
    log.info({ signal }, `stopping; running tasks have ${graceSeconds} s, a second ${signal} stops at once`);
    // A process that was not up has nothing to hand back.
    setTimeout(() => process.exit(up ? 1 : 0), graceSeconds * 1000 + EXTRA_SHUTDOWN_MS);
    stopping.abort();
    const running = await started.catch(() => undefined);
    process.exit((await running?.close()) ? 1 : 0);
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  // The terminal was closed.
  process.on('SIGHUP', stop);
  process.on('unhandledRejection', (error) => log.error({ err: error }, 'a promise was rejected and nobody heard it'));

  const started = run(config, mode, log, stopping.signal);
  const running = await started.catch((error) => {
    if (!stopping.signal.aborted) throw error;
    // The exit is the business of whoever stops.
    return new Promise<never>(() => {});
  });
  up = true;
  if (running.url) console.log(banner(running.url, running.firstAdmin, config.monitoring.enabled));
  else console.log(`SutazAI worker is up, lanes: ${config.worker.lanes.join(', ')}`);
}

function banner(url: string, admin: { username: string; password: string } | undefined, dashboard: boolean): string {
  return [
    `SutazAI is up at ${url}`,
    ...(dashboard ? [`  queues     ${url}/admin/queues`] : []),
    `  readiness  ${url}/readyz`,
    ...(admin
      ? [`  login      ${admin.username} / ${admin.password}   (shown once; it is kept in DATA_DIR/secrets.json)`]
      : []),
  ].join('\n');
}
