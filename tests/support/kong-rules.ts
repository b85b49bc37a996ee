import * as v from 'valibot';
import { METHODS, plainPath, plugins, positive } from './kong-plugins.ts';

/**
 * What Kong 3 itself checks in a declarative file without a database, in our words, for the entities and plugins that we
 * use; decK's schema lets most of these mistakes pass. The last three rules are ours, where Kong takes what cannot be meant.
 */
export function kongProblems(document: unknown): string[] {
  const parsed = v.safeParse(File, document);
  if (!parsed.success) return parsed.issues.map((issue) => `${v.getDotPath(issue) ?? 'the file'}: ${issue.message}`);
  return [...referenceProblems(parsed.output), ...placeholderProblems(document)];
}

const name = v.pipe(v.string(), v.regex(/^[\w.\-~]+$/, 'a name has letters, digits and . - _ ~ only'));
const milliseconds = v.pipe(v.number('wants milliseconds as an integer'), v.integer(), v.minValue(1));
const statuses = v.array(v.pipe(v.number(), v.integer(), v.minValue(100), v.maxValue(999)));
const protocols = v.array(v.picklist(['http', 'https', 'tcp', 'tls', 'udp', 'grpc', 'grpcs', 'ws', 'wss']));

const Route = v.pipe(
  v.strictObject({
    name: v.optional(name),
    service: v.optional(v.string('a route names its service by a plain string')),
    paths: v.optional(
      v.array(v.pipe(v.string(), v.regex(/^(\/|~\/)/, 'a path starts with / or, as a regex, with ~/'))),
    ),
    methods: v.optional(v.array(v.picklist(METHODS, 'methods are upper-case'))),
    hosts: v.optional(v.array(v.string())),
    headers: v.optional(v.record(v.string(), v.array(v.string()))),
    snis: v.optional(v.array(v.string())),
    protocols: v.optional(protocols),
    strip_path: v.optional(v.boolean()),
    preserve_host: v.optional(v.boolean()),
    regex_priority: v.optional(positive),
    request_buffering: v.optional(v.boolean()),
    response_buffering: v.optional(v.boolean()),
    tags: v.optional(v.array(v.string())),
    plugins,
  }),
  v.check(
    ({ methods, hosts, headers, paths, snis }) => Boolean(methods ?? hosts ?? headers ?? paths ?? snis),
    'a route wants at least one of methods, hosts, headers, paths, snis',
  ),
);

const Service = v.pipe(
  v.strictObject({
    name: v.optional(name),
    url: v.optional(v.pipe(v.string(), v.url('wants a URL'))),
    host: v.optional(v.pipe(v.string(), v.regex(/^[\w.-]+$/, 'wants a host'))),
    port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(65535))),
    protocol: v.optional(v.picklist(['http', 'https', 'grpc', 'grpcs', 'tcp', 'tls', 'udp'])),
    path: v.optional(plainPath),
    connect_timeout: v.optional(milliseconds),
    read_timeout: v.optional(milliseconds),
    write_timeout: v.optional(milliseconds),
    retries: v.optional(positive),
    enabled: v.optional(v.boolean()),
    tags: v.optional(v.array(v.string())),
    routes: v.optional(v.array(Route)),
    plugins,
  }),
  v.check(({ url, host }) => Boolean(url) !== Boolean(host), 'a service wants either url or host'),
);

const counters = {
  http_statuses: v.optional(statuses),
  interval: v.optional(positive),
  successes: v.optional(positive),
  http_failures: v.optional(positive),
  tcp_failures: v.optional(positive),
  timeouts: v.optional(positive),
};
const { interval, successes, http_statuses, http_failures, tcp_failures, timeouts } = counters;
const failures = { http_failures, tcp_failures, timeouts, http_statuses };

const Upstream = v.pipe(
  v.strictObject({
    name,
    algorithm: v.optional(v.picklist(['round-robin', 'consistent-hashing', 'least-connections', 'latency'])),
    hash_on: v.optional(v.string()),
    hash_on_header: v.optional(v.string()),
    healthchecks: v.optional(
      v.strictObject({
        threshold: v.optional(v.number()),
        active: v.optional(
          v.strictObject({
            type: v.optional(v.string()),
            http_path: v.optional(plainPath),
            timeout: v.optional(positive),
            concurrency: v.optional(positive),
            healthy: v.optional(v.strictObject({ interval, successes, http_statuses })),
            unhealthy: v.optional(v.strictObject({ interval, ...failures })),
          }),
        ),
        passive: v.optional(
          v.strictObject({
            type: v.optional(v.string()),
            healthy: v.optional(v.strictObject({ successes, http_statuses })),
            unhealthy: v.optional(v.strictObject(failures)),
          }),
        ),
      }),
    ),
    targets: v.optional(
      v.array(v.strictObject({ target: v.pipe(v.string(), v.check(isTarget)), weight: v.optional(positive) })),
    ),
  }),
  v.check(
    ({ hash_on, hash_on_header }) => hash_on !== 'header' || Boolean(hash_on_header),
    'hash_on header wants hash_on_header',
  ),
);

const ALGORITHMS = [...['HS', 'RS', 'ES', 'PS'].flatMap((kind) => [`${kind}256`, `${kind}384`, `${kind}512`]), 'EdDSA'];
const Credential = v.pipe(
  v.strictObject({
    key: v.optional(v.string()),
    algorithm: v.optional(v.picklist(ALGORITHMS)),
    secret: v.optional(v.pipe(v.string(), v.nonEmpty())),
    rsa_public_key: v.optional(v.string()),
  }),
  v.check(
    ({ algorithm = 'HS256', secret, rsa_public_key }) => Boolean(algorithm.startsWith('HS') ? secret : rsa_public_key),
    'without a secret (HS) or a public key Kong makes up one that nobody knows',
  ),
);

const Consumer = v.pipe(
  v.strictObject({
    username: v.optional(v.string()),
    custom_id: v.optional(v.string()),
    jwt_secrets: v.optional(v.array(Credential)),
    plugins,
  }),
  v.check(({ username, custom_id }) => Boolean(username ?? custom_id), 'a consumer wants username or custom_id'),
);

const File = v.strictObject({
  _format_version: v.picklist(['1.1', '2.1', '3.0'], 'wants a quoted "1.1", "2.1" or "3.0"'),
  _transform: v.optional(v.boolean()),
  upstreams: v.optional(v.array(Upstream)),
  services: v.optional(v.array(Service)),
  routes: v.optional(v.array(Route)),
  plugins,
  consumers: v.optional(v.array(Consumer)),
});

function isTarget(target: string): boolean {
  const [host, port] = target.split(':');
  return /^[\w.-]+$/.test(host ?? '') && /^\d{1,5}$/.test(port ?? '') && Number(port) <= 65535;
}

function referenceProblems({ services = [], routes = [], upstreams = [] }: v.InferOutput<typeof File>): string[] {
  const allRoutes = [...routes, ...services.flatMap((service) => service.routes ?? [])];
  const twice = [services, allRoutes, upstreams].flatMap((all) => {
    const names = all.map((one) => one.name).filter((one) => one !== undefined);
    return names.filter((one, index) => names.indexOf(one) !== index).map((one) => `the name ${one} is there twice`);
  });
  const known = new Set(services.map((service) => service.name));
  const lost = routes
    .filter(({ service }) => service && !known.has(service))
    .map(({ service }) => `no service ${service}`);
  // A host that is no upstream is asked for in the DNS, without health checks, and Kong says nothing of it.
  const hosts = services.map(({ host }) => host);
  const idle = upstreams.filter((one) => !hosts.includes(one.name)).map((one) => `no service goes to ${one.name}`);
  return [...twice, ...lost, ...idle];
}

/** Kong takes `${X}` for the text that it is. */
function placeholderProblems(document: unknown): string[] {
  return JSON.stringify(document).includes('${') ? ['a placeholder is left'] : [];
}
