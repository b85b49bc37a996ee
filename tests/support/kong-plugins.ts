import * as v from 'valibot';

export const positive = v.pipe(v.number(), v.integer('wants an integer'), v.minValue(0));
export const plainPath = v.pipe(v.string(), v.startsWith('/', 'wants a / at the start'));
export const METHODS = ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'] as const;

const WINDOWS = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
const windows = Object.fromEntries(WINDOWS.map((window) => [window, v.optional(v.pipe(v.number(), v.gtValue(0)))]));

const PLUGINS = {
  jwt: v.strictObject({
    key_claim_name: v.optional(v.string()),
    claims_to_verify: v.optional(v.array(v.picklist(['exp', 'nbf']))),
    maximum_expiration: v.optional(positive),
    header_names: v.optional(v.array(v.string())),
    uri_param_names: v.optional(v.array(v.string())),
    cookie_names: v.optional(v.array(v.string())),
    run_on_preflight: v.optional(v.boolean()),
    secret_is_base64: v.optional(v.boolean()),
    anonymous: v.optional(v.string()),
    realm: v.optional(v.string()),
  }),
  'rate-limiting': v.pipe(
    v.strictObject({
      ...windows,
      policy: v.optional(v.picklist(['local', 'redis'], 'without a database the policy is local or redis')),
      limit_by: v.optional(v.picklist(['consumer', 'credential', 'ip', 'service', 'header', 'path'])),
      header_name: v.optional(v.string()),
      path: v.optional(plainPath),
      redis: v.optional(v.looseObject({ host: v.string() })),
      fault_tolerant: v.optional(v.boolean()),
      hide_client_headers: v.optional(v.boolean()),
      error_code: v.optional(positive),
      error_message: v.optional(v.string()),
    }),
    v.check((config) => limits(config).length > 0, 'wants at least one of second to year'),
    v.check((config) => isAscending(limits(config)), 'a longer window may not allow less than a shorter one'),
    v.check(
      ({ limit_by, header_name }) => limit_by !== 'header' || Boolean(header_name),
      'limit_by header wants header_name',
    ),
  ),
  'correlation-id': v.strictObject({
    header_name: v.optional(v.string()),
    generator: v.optional(v.picklist(['uuid', 'uuid#counter', 'tracker'])),
    echo_downstream: v.optional(v.boolean()),
  }),
  cors: v.strictObject({
    origins: v.optional(v.array(v.string())),
    methods: v.optional(v.array(v.picklist(METHODS))),
    headers: v.optional(v.array(v.string())),
    exposed_headers: v.optional(v.array(v.string())),
    credentials: v.optional(v.boolean()),
    max_age: v.optional(positive),
    preflight_continue: v.optional(v.boolean()),
    private_network: v.optional(v.boolean()),
  }),
  'request-size-limiting': v.strictObject({
    allowed_payload_size: v.optional(positive),
    size_unit: v.optional(v.picklist(['megabytes', 'kilobytes', 'bytes'])),
    require_content_length: v.optional(v.boolean()),
  }),
  prometheus: v.strictObject({
    per_consumer: v.optional(v.boolean()),
    status_code_metrics: v.optional(v.boolean()),
    latency_metrics: v.optional(v.boolean()),
    bandwidth_metrics: v.optional(v.boolean()),
    upstream_health_metrics: v.optional(v.boolean()),
  }),
} as const;

/** Plugins of the open edition that we use, with the settings that Kong knows. */
export const plugins = v.optional(
  v.array(
    v.variant(
      'name',
      Object.entries(PLUGINS).map(([plugin, config]) =>
        v.strictObject({ name: v.literal(plugin), enabled: v.optional(v.boolean()), config: v.optional(config) }),
      ) as never,
    ),
  ),
);

function limits(config: object): number[] {
  return WINDOWS.map((window) => (config as Record<string, number | undefined>)[window]).filter((n) => n !== undefined);
}

function isAscending(numbers: number[]): boolean {
  return numbers.every((number, index) => index === 0 || number >= (numbers[index - 1] as number));
}
