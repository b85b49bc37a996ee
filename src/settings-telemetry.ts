import * as v from 'valibot';
import { flag, oneOf, setting, text, url } from './setting.ts';

/** As OpenTelemetry writes them: `name=value`, separated by commas, values as in URLs. */
const headers = v.pipe(
  v.string(),
  v.check(
    (given) => given.split(',').every((one) => one.trim() === '' || /^[^=\s]+=[^,]*$/.test(one.trim())),
    'wants headers such as api-key=secret,x-team=blue',
  ),
  v.transform((given) =>
    Object.fromEntries(
      given
        .split(',')
        .filter((one) => one.trim() !== '')
        .map((one) => {
          const [name = '', ...value] = one.trim().split('=');
          return [name, decodeURIComponent(value.join('='))];
        }),
    ),
  ),
);

const ratio = v.pipe(
  v.string(),
  v.transform(Number),
  v.check((given) => given >= 0 && given <= 1, 'wants a number from 0 to 1'),
);

/** The environment variables about what is told of what goes on; a part of the table in `settings.ts`. */
export const TELEMETRY_SETTINGS = {
  ENABLE_MONITORING: setting(
    'Operation',
    v.optional(flag, 'true'),
    'false takes the queue dashboard and /metrics away; /api/v1/monitoring stays',
  ),
  LOG_FORMAT: setting(
    'Operation',
    v.optional(oneOf(['json', 'text'])),
    'how a line of the log is written: as JSON, or as text for people; text at a terminal, else json',
    { example: 'json' },
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: setting(
    'Operation',
    v.optional(url(['http:', 'https:'], 'http://127.0.0.1:4318')),
    'where a collector takes traces (OTLP over HTTP, the path /v1/traces is added); there are no traces when empty',
    { example: 'http://127.0.0.1:4318' },
  ),
  OTEL_EXPORTER_OTLP_HEADERS: setting('Operation', v.optional(headers, ''), 'headers that it wants, as name=value', {
    secret: true,
    example: 'api-key=secret',
  }),
  OTEL_SERVICE_NAME: setting('Operation', v.optional(text, 'sutazai'), 'what traces call these processes'),
  OTEL_TRACES_SAMPLER_ARG: setting(
    'Operation',
    v.optional(ratio, '1'),
    'which part of the traces is kept, from 0 to 1; a request that brings a trace along decides itself',
  ),
} as const;
