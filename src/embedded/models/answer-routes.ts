import type { Hono } from 'hono';
import type { Model } from './catalog.ts';
import { httpError, unsupported } from './errors.ts';
import { checkFormat } from './format.ts';
import { type Generated, type GenerateInput, generate, nanoseconds } from './generate.ts';
import { chatPrompt, type Message, rawPrompt } from './prompt.ts';
import {
  type AnsweringRequest,
  chatRequest,
  generateRequest,
  givenOptions,
  keepAliveMs,
  parseBody,
} from './requests.ts';
import { type Cancellation, respondLines } from './respond.ts';
import type { Services } from './routes.ts';
import type { Runtime } from './runtime.ts';

/** A piece of the answer in the form of its route: `response` of generate, `message` of chat. */
type Shape = (text: string) => object;

type Answer = {
  /** The model's name as the client wrote it. */
  name: string;
  shape: Shape;
  events: AsyncGenerator<Generated | { done: true; reason: 'load' | 'unload'; timings?: undefined; totalMs: number }>;
};

/** `/api/generate` and `/api/chat`. */
export function answerRoutes(app: Hono, services: Services): void {
  app.post('/api/generate', async (c) => {
    const body = parseBody(generateRequest, await c.req.text());
    const name = body.model ?? '';
    const model = await services.catalog.getModel(name);
    const prompt = body.prompt ?? '';
    check(model, name, 'generate', prompt === '', body);
    if (body.suffix) throw unsupported(name, 'insert');
    if (body.images?.length) throw unsupported(name, 'images');
    const messages: Message[] = [{ role: 'user', content: prompt }];
    if (body.system) messages.unshift({ role: 'system', content: body.system });
    const input = common(model, body, body.raw ? (options) => rawPrompt(prompt, options) : plan(messages));
    const cancellation = services.cancellation(c);
    const run = prompt === '' ? load : generate;
    const events: Answer['events'] = run(services.runtime, input, cancellation.signal);
    return respond({ name, events, shape: (response) => ({ response }) }, body.stream ?? true, cancellation);
  });

  app.post('/api/chat', async (c) => {
    const body = parseBody(chatRequest, await c.req.text());
    const name = body.model ?? '';
    const model = await services.catalog.getModel(name);
    check(model, name, 'chat', !body.messages?.length, body);
    if (body.tools?.length) throw unsupported(name, 'tools');
    const messages = (body.messages ?? []).map(({ role, content, images }) => {
      if (images?.length) throw unsupported(name, 'images');
      if (!['system', 'user', 'assistant', 'tool'].includes(role)) {
        throw httpError(400, `invalid role: "${role}", must be one of ["system", "user", "assistant", "tool"]`);
      }
      return { role, content: content ?? '' };
    });
    const input = common(model, body, plan(messages));
    const cancellation = services.cancellation(c);
    const run = messages.length === 0 ? load : generate;
    const events: Answer['events'] = run(services.runtime, input, cancellation.signal);
    const shape: Shape = (content) => ({ message: { role: 'assistant', content } });
    return respond({ name, events, shape }, body.stream ?? true, cancellation);
  });
}

function check(model: Model, name: string, route: string, empty: boolean, body: AnsweringRequest): void {
  // Any model may be unloaded here, also one that only embeds: that is how `ollama stop` does it.
  if (empty && keepAliveMs(body.keep_alive) === 0) return;
  if (model.card.capability !== 'completion') throw unsupported(name, route);
  if (body.think) throw unsupported(name, 'thinking');
  checkFormat(body.format);
}

function plan(messages: Message[]): GenerateInput['prompt'] {
  return (options) => chatPrompt(messages, options);
}

function common(model: Model, body: AnsweringRequest, prompt: GenerateInput['prompt']): GenerateInput {
  return {
    model,
    options: givenOptions(body.options),
    format: body.format,
    keepAliveMs: keepAliveMs(body.keep_alive),
    truncate: body.truncate ?? true,
    shift: body.shift ?? true,
    prompt,
  };
}

/** A request without a prompt loads the model, or unloads it when nothing is to be kept alive. */
async function* load(runtime: Runtime, input: GenerateInput, signal: AbortSignal): Answer['events'] {
  const started = performance.now();
  const unload = input.keepAliveMs === 0;
  if (unload) await runtime.unload(input.model);
  else {
    const { keepAliveMs, options } = input;
    const lease = await runtime.lease(input.model, { contextSize: options.num_ctx, keepAliveMs, signal });
    await lease.release();
  }
  yield { done: true, reason: unload ? 'unload' : 'load', totalMs: performance.now() - started };
}

async function respond(answer: Answer, streaming: boolean, cancellation: Cancellation): Promise<Response> {
  if (streaming) return respondLines(lines(answer), cancellation);
  let text = '';
  for await (const event of answer.events) {
    if (event.done) return Response.json(last(answer, event, text));
    text += event.text;
  }
  throw new Error('the generation ended without a result');
}

async function* lines(answer: Answer): AsyncGenerator<object> {
  for await (const event of answer.events) {
    if (event.done) yield last(answer, event, '');
    else yield { model: answer.name, created_at: now(), ...answer.shape(event.text), done: false };
  }
}

function last({ name, shape }: Answer, event: EndEvent, text: string): object {
  const timings = event.timings ?? { total_duration: nanoseconds('totalMs' in event ? event.totalMs : 0) };
  return { model: name, created_at: now(), ...shape(text), done: true, done_reason: event.reason, ...timings };
}

type EndEvent = Extract<Awaited<ReturnType<Answer['events']['next']>>['value'], { done: true }>;

function now(): string {
  return new Date().toISOString();
}
