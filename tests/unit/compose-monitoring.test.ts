import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { defaultsOf, readCompose, readYaml } from '../support/compose-files.ts';
import { networksOf, type Service } from '../support/compose-rules.ts';

const { services } = readCompose();
const ours = Object.keys(services).filter((name) => /^(api|worker-)/.test(name));
const collector = readYaml('deploy/otel/collector.yaml') as unknown as {
  receivers: { otlp: { protocols: { http: { endpoint: string } } } };
  exporters: { prometheus: { endpoint: string } };
};
const portOf = (address = '') => address.split(':').pop();

interface Scrape {
  job_name: string;
  dns_sd_configs?: Array<{ names: string[]; port: number }>;
  static_configs?: Array<{ targets: string[] }>;
}

/** Who answers to a name on the inner network. */
function answering(name: string): string[] {
  const aliasesOf = ({ networks = [] }: Service) => (Array.isArray(networks) ? [] : (networks.inner?.aliases ?? []));
  return Object.entries(services)
    .filter(([own, one]) => networksOf(one).includes('inner') && [own, ...aliasesOf(one)].includes(name))
    .map(([own]) => own);
}

test('traces go to the collector with deploy/compose/monitoring.yml, and without it there are none', () => {
  const traced = readCompose('deploy/compose/monitoring.yml');
  expect(answering('otel-collector')).toEqual(['otel-collector']);
  expect(services['otel-collector']?.profiles).toEqual(['monitoring']);
  for (const name of ours) {
    expect(networksOf(services[name] as Service), name).toContain('inner');
    const given = ({ OTEL_EXPORTER_OTLP_ENDPOINT }: Record<string, string> = {}) =>
      loadConfig({ OTEL_EXPORTER_OTLP_ENDPOINT }).traces.endpoint;
    expect(given(defaultsOf(services[name] as Service)), name).toBeUndefined();
    const url = given(defaultsOf(traced.services[name] as Service));
    expect(url, name).toBe(`http://otel-collector:${portOf(collector.receivers.otlp.protocols.http.endpoint)}`);
  }
});

test('Prometheus finds every process of Compose that has metrics, at the port where it shows them', () => {
  const jobs = (readYaml('deploy/monitoring/prometheus/prometheus.yml').scrape_configs as Scrape[]).map((job) => {
    const named = (job.dns_sd_configs ?? []).flatMap(({ names, port }) => names.map((name) => `${name}:${port}`));
    const targets = [...named, ...(job.static_configs ?? []).flatMap((one) => one.targets)];
    return [
      job.job_name,
      targets.flatMap((target) => {
        const [host = '', port] = target.split(':');
        return (host === 'localhost' ? [job.job_name] : answering(host)).map((name) => `${name}:${port}`);
      }),
    ];
  });
  const at = (kind: RegExp) =>
    ours
      .filter((name) => kind.test(name))
      .map((name) => `${name}:${defaultsOf(services[name] as Service).HEALTH_PORT}`);
  expect(Object.fromEntries(jobs)).toEqual({
    api: at(/^api/),
    worker: at(/^worker/),
    kong: [`kong:${portOf(defaultsOf(services.kong as Service).KONG_STATUS_LISTEN)}`],
    'otel-collector': [`otel-collector:${portOf(collector.exporters.prometheus.endpoint)}`],
    prometheus: ['prometheus:9090'],
    alertmanager: ['alertmanager:9093'],
  });
});
