import {
  type Attributes,
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';

export type { Span } from '@opentelemetry/api';

/** What a span is called, and what it says when it begins; names and attributes are those of OpenTelemetry's conventions. */
export interface Described {
  name: string;
  kind: 'server' | 'client' | 'producer' | 'consumer' | 'internal';
  attributes?: Attributes;
  /** A `traceparent` of W3C that it goes on from, or `null` where it begins a trace; from what goes on here where not given. */
  parent?: string | null;
}

const KINDS = {
  server: SpanKind.SERVER,
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
};

/** Makes spans, while traces are sent somewhere. Without it nothing here costs more than the look whether it is there. */
let tracer: Tracer | undefined;

/** From now on there are spans; `undefined` ends that. */
export function traceWith(given: Tracer | undefined): void {
  tracer = given;
}

export const isTracing = (): boolean => tracer !== undefined;

/** Does some work within a span, where there are spans; it ends with the work. */
export function inSpan<T>(describe: () => Described, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  if (!tracer) return work(undefined);
  const { name, kind, attributes, parent } = describe();
  const from = parent === undefined ? context.active() : contextOf(parent);
  const span = tracer.startSpan(name, { kind: KINDS[kind], attributes }, from);
  return context.with(trace.setSpan(from, span), async () => {
    try {
      return await work(span);
    } catch (error) {
      fail(span, error);
      throw error;
    } finally {
      span.end();
    }
  });
}

/** The same, but only as a part of something: what is done again and again for nobody begins no traces. */
export function inPart<T>(describe: () => Described, work: (span: Span | undefined) => Promise<T>): Promise<T> {
  return tracer && trace.getActiveSpan() ? inSpan(describe, work) : work(undefined);
}

/** What went wrong is said by its code: messages may hold what users wrote. */
function fail(span: Span, error: unknown): void {
  const { code, name } = (error ?? {}) as { code?: unknown; name?: unknown };
  span.setAttribute('error.type', String(code ?? name ?? 'error'));
  span.setStatus({ code: SpanStatusCode.ERROR });
}

/** Says more of the span that is under way. */
export function say(attributes: Attributes, failure?: string): void {
  const span = tracer && trace.getActiveSpan();
  if (!span) return;
  span.setAttributes(attributes);
  if (failure !== undefined) failed(span, failure);
}

/** Marks a span as failed although nothing was thrown. */
export function failed(span: Span | undefined, type: string): void {
  span?.setAttribute('error.type', type);
  span?.setStatus({ code: SpanStatusCode.ERROR });
}

function contextOf(traceparent: string | null): Context {
  return traceparent === null ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, { traceparent });
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** The headers that carry the trace to whoever is called. */
export function traceHeaders(): Readonly<Record<string, string>> {
  if (!tracer || !trace.getActiveSpan()) return NO_HEADERS;
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** What a row keeps, so that whoever goes on with it belongs to the trace. */
export const traceparent = (): string | undefined => traceHeaders().traceparent;

/** What is under way here, for {@link goOn}. */
export const present = (): Context | undefined => (tracer ? context.active() : undefined);

/** Does some work as a part of what was under way when {@link present} was asked. */
export function goOn<T>(then: Context | undefined, work: () => T): T {
  return then ? context.with(then, work) : work();
}

/** What a log line says of the trace that it belongs to; a new object, because the line is written into it. */
export function traceIds(): { trace_id?: string; span_id?: string } {
  const span = tracer && trace.getActiveSpan()?.spanContext();
  return span ? { trace_id: span.traceId, span_id: span.spanId } : {};
}
