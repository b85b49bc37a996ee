import { type ChildProcess, spawn } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { MONITORING } from './monitoring.ts';
import { open } from './open.ts';
import { freePort } from './redis.ts';
import { ROOT } from './sources.ts';
import { until } from './until.ts';

/** One series of an answer. */
export interface Series {
  metric: Record<string, string>;
  value: number;
}

/** A Prometheus and an Alertmanager with the configuration of the repository, in a hurry. */
export interface MonitoringRig {
  /** The answer of an instant query. @throws where Prometheus refuses it */
  query(expr: string): Promise<Series[]>;
  /** A path of its HTTP API. */
  ask<T>(path: string): Promise<T>;
  /** What Alertmanager has. */
  alerts(): Promise<Array<{ labels: Record<string, string>; annotations: Record<string, string> }>>;
  close(): Promise<void>;
}

interface Options {
  /** `host:port` of what is scraped, by job. */
  targets: Record<string, string[]>;
  /** Where messages about alerts go. */
  chatUrl: string;
  runbooksUrl: string;
}

/** As configured, but for addresses, and for times, which are a second or two. */
export async function startMonitoring({ targets, chatUrl, runbooksUrl }: Options): Promise<MonitoringRig> {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-monitoring-'));
  open.add(folder);
  const [prometheusPort, alertmanagerPort] = [await freePort(), await freePort()];
  const at = (port: number) => `127.0.0.1:${port}`;
  await cp(join(ROOT, MONITORING, 'prometheus'), folder, { recursive: true });
  await mkdir(join(folder, 'targets'));
  for (const [job, list] of Object.entries(targets))
    await writeFile(join(folder, 'targets', `${job}.yml`), stringify([{ targets: list }]));

  const config = parse(await readFile(join(folder, 'prometheus.yml'), 'utf8'));
  // A page of metrics is kept for a second: asked each second, a process would often show the page that it showed before.
  Object.assign(config.global, { scrape_interval: '2s', scrape_timeout: '2s', evaluation_interval: '1s' });
  config.alerting.alertmanagers[0].static_configs[0].targets = [at(alertmanagerPort)];
  for (const job of config.scrape_configs) {
    // Names that only Docker's DNS knows.
    delete job.dns_sd_configs;
    if (job.file_sd_configs) delete job.static_configs;
    else job.static_configs[0].targets = [at(job.job_name === 'prometheus' ? prometheusPort : alertmanagerPort)];
  }
  await writeFile(join(folder, 'prometheus.yml'), stringify(config));

  const said = await readFile(join(ROOT, MONITORING, 'alertmanager/alertmanager.yml'), 'utf8');
  const route = parse(said);
  for (const one of [route.route, ...route.route.routes]) one.group_wait = '0s';
  route.receivers[0].slack_configs[0].api_url_file = join(folder, 'chat');
  await writeFile(join(folder, 'chat'), chatUrl);
  await writeFile(join(folder, 'alertmanager.yml'), stringify(route));

  const output: string[] = [];
  const children = [
    launch(output, 'prometheus-alertmanager', {
      'config.file': join(folder, 'alertmanager.yml'),
      'storage.path': join(folder, 'alertmanager'),
      'web.listen-address': at(alertmanagerPort),
      'cluster.listen-address': '',
      'log.level': 'warn',
    }),
    launch(
      output,
      'prometheus',
      {
        'config.file': join(folder, 'prometheus.yml'),
        'storage.tsdb.path': join(folder, 'data'),
        'web.listen-address': at(prometheusPort),
        'enable-feature': 'expand-external-labels',
        'log.level': 'warn',
      },
      { RUNBOOKS_URL: runbooksUrl },
    ),
  ];
  for (const port of [prometheusPort, alertmanagerPort])
    await until('monitoring is up', () => {
      if (children.some(({ exitCode }) => exitCode !== null)) throw new Error(output.join(''));
      return fetch(`http://${at(port)}/-/ready`).then(
        ({ ok }) => ok,
        () => false,
      );
    });

  async function ask<T>(path: string): Promise<T> {
    const answer = await fetch(`http://${at(prometheusPort)}/api/v1/${path}`);
    const { data, error } = (await answer.json()) as { data: T; error?: string };
    if (error) throw new Error(error);
    return data;
  }
  return {
    ask,
    async query(expr) {
      const { result } = await ask<{ result: Array<{ metric: Record<string, string>; value: [number, string] }> }>(
        `query?query=${encodeURIComponent(expr)}`,
      );
      return result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
    },
    alerts: async () => (await fetch(`http://${at(alertmanagerPort)}/api/v2/alerts`)).json() as never,
    async close() {
      for (const child of children) child.kill('SIGKILL');
      await Promise.all(
        children.map((child) => child.exitCode ?? new Promise((resolve) => child.once('close', resolve))),
      );
      await rm(folder, { recursive: true, force: true, maxRetries: 10 });
      open.delete(folder);
    },
  };
}

function launch(
  output: string[],
  program: string,
  flags: Record<string, string>,
  env: Record<string, string> = {},
): ChildProcess {
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(String(chunk)));
  return child;
}
