import { type Context, Hono } from 'hono';
import type { Logger } from '../../log.ts';
import { answerRoutes } from './answer-routes.ts';
import { details } from './card.ts';
import type { Catalog, Model } from './catalog.ts';
import { embed } from './embed.ts';
import { httpError, messageOf, notFound, statusOf, unsupported } from './errors.ts';
import { type PullStatus, pull } from './pull.ts';
import { embeddingsRequest, embedRequest, givenOptions, keepAliveMs, modelRequest, parseBody } from './requests.ts';
import { type Cancellation, respondError, respondLines } from './respond.ts';
import type { Runtime } from './runtime.ts';

/** What `/api/version` tells: no version of Ollama, and recognisable as the embedded server. */
export const VERSION = '0.0.0-sutazai-embedded';

export type Services = {
  catalog: Catalog;
  runtime: Runtime;
  modelsDir: string;
  hubUrl: string;
  log: Logger;
  cancellation: (c: Context) => Cancellation;
};

/** Ollama has no number for "never"; a date this far away is what its clients see. */
const NEVER_MS = 292 * 365 * 86_400_000;

/** Ollama's HTTP API (https://docs.ollama.com/api), except for making, copying and publishing models. */
export function createRoutes(services: Services): Hono {
  const { catalog, runtime, log } = services;
  const app = new Hono();

  app.onError((error, c) => {
    if (statusOf(error) === 500) log.error({ path: c.req.path, error: messageOf(error) }, 'a request failed');
    return respondError(c, error);
  });
  app.notFound((c) => c.text('404 page not found', 404));

  app.get('/', (c) => c.text('Ollama is running'));
  app.get('/api/version', (c) => c.json({ version: VERSION }));

  app.get('/api/tags', async (c) => {
    const models = await catalog.list();
    return c.json({ models: models.map((model) => ({ ...summary(model), modified_at: model.modifiedAt })) });
  });

  app.get('/api/ps', (c) => {
    const models = runtime.running().map(({ model, contextSize, expiresAt }) => ({
      ...summary(model),
      expires_at: new Date(Number.isFinite(expiresAt) ? expiresAt : Date.now() + NEVER_MS),
      size_vram: 0,
      context_length: contextSize,
    }));
    return c.json({ models });
  });

  app.post('/api/show', async (c) => {
    const body = parseBody(modelRequest, await c.req.text());
    const { card, modifiedAt } = await catalog.getModel(body.model || body.name || '');
    return c.json({
      license: card.license ?? '',
      parameters: '',
      template: card.template ?? '{{ .Prompt }}',
      details: details(card),
      model_info: card.info,
      capabilities: [card.capability],
      modified_at: modifiedAt,
    });
  });

  app.delete('/api/delete', async (c) => {
    const body = parseBody(modelRequest, await c.req.text());
    const model = await catalog.getModel(body.model || body.name || '');
    catalog.checkRemovable(model);
    await runtime.unload(model);
    await catalog.remove(model);
    return c.body(null, 200);
  });

  app.post('/api/pull', async (c) => {
    const body = parseBody(modelRequest, await c.req.text());
    const name = body.model || body.name || '';
    if (!name) throw httpError(400, 'model is required');
    const cancellation = services.cancellation(c);
    const lines: AsyncGenerator<PullStatus> = pull(name, services, cancellation.signal);
    if (body.stream ?? true) return respondLines(lines, cancellation);
    for await (const _ of lines);
    return c.json({ status: 'success' });
  });

  app.post('/api/embed', async (c) => {
    const body = parseBody(embedRequest, await c.req.text());
    const texts = inputTexts(body.input);
    const name = body.model ?? '';
    const model = await embeddingModel(catalog, name);
    const { signal } = services.cancellation(c);
    const result = await embed(
      runtime,
      {
        model,
        texts,
        contextSize: givenOptions(body.options).num_ctx,
        keepAliveMs: keepAliveMs(body.keep_alive),
        truncate: body.truncate ?? true,
        dimensions: body.dimensions || undefined,
      },
      signal,
    );
    return c.json({ model: name, ...result });
  });

  app.post('/api/embeddings', async (c) => {
    const body = parseBody(embeddingsRequest, await c.req.text());
    const model = await embeddingModel(catalog, body.model ?? '');
    const { signal } = services.cancellation(c);
    const input = {
      model,
      texts: body.prompt ? [body.prompt] : [],
      contextSize: givenOptions(body.options).num_ctx,
      keepAliveMs: keepAliveMs(body.keep_alive),
      truncate: true,
      dimensions: undefined,
    };
    const { embeddings } = await embed(runtime, input, signal);
    return c.json({ embedding: embeddings[0] ?? [] });
  });

  answerRoutes(app, services);
  return app;
}

function summary(model: Model) {
  const { name, size, digest, card } = model;
  return { name, model: name, size, digest, details: details(card) };
}

/** Looks a model up for embedding; Ollama words this 404 another way than the others. */
async function embeddingModel(catalog: Catalog, name: string): Promise<Model> {
  const model = await catalog.getModel(name).catch((error) => {
    if (statusOf(error) !== notFound(name).status) throw error;
    throw httpError(404, `model "${name}" not found, try pulling it first`);
  });
  if (model.card.capability !== 'embedding') throw unsupported(name, 'embed');
  return model;
}

function inputTexts(input: unknown): string[] {
  if (input === undefined || input === null || input === '') return [];
  if (typeof input === 'string') return [input];
  if (Array.isArray(input) && input.every((item) => typeof item === 'string')) return input;
  throw httpError(400, 'invalid input type');
}
