import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { Logger } from '../../log.ts';
import { createCatalog } from './catalog.ts';
import { prepareModels } from './prepare.ts';
import { createRoutes } from './routes.ts';
import { createRuntime } from './runtime.ts';

export type ModelServerOptions = {
  /** Address to listen on; 127.0.0.1 when absent. */
  host?: string;
  /** 0, the default, takes any free port. */
  port?: number;
  /** Where the built-in models are prepared, about 45 MB. May be shared between processes. */
  cacheDir: string;
  /** Where a user's own `*.gguf` files lie and pulled ones go. */
  modelsDir: string;
  log: Logger;
  /** Requests computed at once for each model; further ones wait. 1 when absent, as in Ollama. */
  parallel?: number;
  /** Threads for each computation; half of the cores when absent. */
  threads?: number;
  /** Where `hf.co/…` names are pulled from. */
  hubUrl?: string;
};

export type ModelServer = { url: string; close: () => Promise<void> };

/**
 * Starts a server that speaks Ollama's HTTP API, with llama.cpp behind it. It prepares its two built-in models first
 * (`all-minilm` for embeddings, `stories15m` for text; seconds, once) and loads each at its first use.
 * `close` aborts what runs and resolves when memory and port are free; calling it again changes nothing.
 */
export async function startModelServer(options: ModelServerOptions): Promise<ModelServer> {
  const { cacheDir, modelsDir, log, host = '127.0.0.1', port = 0, parallel = 1, threads } = options;
  await mkdir(modelsDir, { recursive: true });
  const prepared = await prepareModels(cacheDir, log);
  const catalog = createCatalog({ prepared, cacheDir, modelsDir, log });
  const runtime = createRuntime({ log, parallel, threads });
  const closing = new AbortController();

  const app = createRoutes({
    catalog,
    runtime,
    modelsDir,
    hubUrl: (options.hubUrl ?? 'https://huggingface.co').replace(/\/+$/, ''),
    log,
    cancellation(c) {
      const stopped = new AbortController();
      const signal = AbortSignal.any([c.req.raw.signal, closing.signal, stopped.signal]);
      return { signal, stop: () => stopped.abort() };
    },
  });
  const server = createServer(getRequestListener(app.fetch, { overrideGlobalObjects: false }));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  const url = `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  log.info({ url, models: prepared.map((model) => model.name) }, 'the embedded model server is ready');

  let closed: Promise<void> | undefined;
  async function close(): Promise<void> {
    closing.abort();
    const ended = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await ended;
    await runtime.close();
  }
  return {
    url,
    close() {
      closed ??= close();
      return closed;
    },
  };
}
