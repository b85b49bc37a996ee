import { hostname } from 'node:os';
import { context, DiagLogLevel, diag, propagation } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from '../log.ts';
import { VERSION } from '../version.ts';
import { traceWith } from './tracing.ts';

interface Options {
  /** Where a collector takes OTLP over HTTP; the path `/v1/traces` is added. */
  endpoint: string;
  headers: Readonly<Record<string, string>>;
  /** What the process is called in traces. */
  service: string;
  /** Which part of the traces that begin here is kept, from 0 to 1; of those that come along, what they say. */
  ratio: number;
  mode: string;
  log: Logger;
}

const EVERY_MS = 1_000;
const SEND_TIMEOUT_MS = 5_000;
/** What sending the last ones may hold up an end. */
const LAST_MS = 800;

/** Begins to send traces; answers what ends that, once the last are sent. The process has one of these. */
export function startTracing({ endpoint, headers, service, ratio, mode, log }: Options): () => Promise<void> {
  let told = false;
  const unsent = (text: string) => {
    log[told ? 'debug' : 'warn']({ reason: text.slice(0, 300) }, 'traces could not be sent');
    told = true;
  };
  const taken = () => {
    if (told) log.info('traces are sent again');
    told = false;
  };
  const quiet = () => {};
  diag.setLogger(
    { error: unsent, warn: quiet, info: quiet, debug: quiet, verbose: quiet },
    { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true },
  );
  const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`;
  const sender = new OTLPTraceExporter({ url, headers: { ...headers }, timeoutMillis: SEND_TIMEOUT_MS });
  const exporter: SpanExporter = {
    export: (spans, done) =>
      sender.export(spans, (result) => {
        if (result.code === ExportResultCode.SUCCESS) taken();
        done(result);
      }),
    forceFlush: () => sender.forceFlush(),
    shutdown: () => sender.shutdown(),
  };
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      'service.name': service,
      'service.version': VERSION,
      'service.instance.id': `${hostname()}:${process.pid}`,
      'sutazai.mode': mode,
    }),
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(ratio) }),
    spanProcessors: [new BatchSpanProcessor({ exporter, scheduledDelayMillis: EVERY_MS })],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  traceWith(provider.getTracer('sutazai', VERSION));
  return async () => {
    traceWith(undefined);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, LAST_MS, 'late');
    });
    const ended = await Promise.race([provider.shutdown(), late]);
    clearTimeout(timer);
    if (ended === 'late') unsent(`not within ${LAST_MS} ms, when everything ended`);
    context.disable();
    propagation.disable();
    diag.disable();
  };
}
