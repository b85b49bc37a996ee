import { html } from 'hono/html';
import * as v from 'valibot';
import type { Registry } from '../../tasks/index.ts';
import { answers, answersText } from '../answer.ts';
import { BOARD_PATH } from '../board.ts';
import { loadBundle } from '../reference/bundle.ts';
import { createDocument, type Document } from '../reference/document.ts';
import { defineRoute, type Route } from '../route.ts';

interface Options {
  registry: Registry;
  /** Whether there is a dashboard. */
  dashboard: boolean;
  /** Every route of the API, these too; asked for when somebody first wants the document. */
  routes: () => readonly Route[];
}

/** Scalar makes styles of its own while it runs; nothing else comes from anywhere but here. */
const CONTENT_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const PAGE = '<!doctype html><html>…</html>';
const YEAR = 31_536_000;

/** What Scalar is told: no fonts, proxies, assistants and other services from outside. */
const SCALAR = {
  withDefaultFonts: false,
  hideClientButton: true,
  showDeveloperTools: 'never',
  telemetry: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  defaultHttpClient: { targetKey: 'shell', clientKey: 'curl' },
};

/** The first page, the reference and its parts. */
export function referenceRoutes({ registry, dashboard, routes }: Options): Route[] {
  let made: Promise<Document> | undefined;
  const links = { docs: '/docs', openapi: '/openapi.json', health: '/healthz', readiness: '/readyz' };

  return [
    defineRoute({
      method: 'GET',
      path: '/',
      summary: 'Where to go from here',
      answers: {
        200: {
          ...answers(
            'The addresses of what there is; a page where a browser asks.',
            v.strictObject({ name: v.string(), links: v.record(v.string(), v.string()) }),
            { name: 'SutazAI', links: { docs: 'http://127.0.0.1:3000/docs' } },
          ),
          texts: { 'text/html': PAGE },
        },
      },
      handle: async ({ base, header }) => {
        const shown = dashboard ? { ...links, dashboard: BOARD_PATH } : links;
        if ((header('accept') ?? '').includes('text/html'))
          return { status: 200, text: String(await firstPage(shown)) };
        const whole = Object.entries(shown).map(([name, path]) => [name, base + path]);
        return { status: 200, body: { name: 'SutazAI', links: Object.fromEntries(whole) } };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/openapi.json',
      summary: 'This reference as an OpenAPI document',
      answers: {
        200: answers('The document.', v.looseObject({ openapi: v.string() }), { openapi: '3.1.0' }, ['Cache-Control']),
      },
      handle: async ({ base }) => {
        made ??= createDocument({ routes: routes(), registry });
        return {
          status: 200,
          body: { ...(await made), servers: [{ url: base }] },
          headers: { 'Cache-Control': 'private, max-age=60' },
        };
      },
    }),
    defineRoute({
      method: 'GET',
      path: '/docs',
      summary: 'This reference as a page',
      answers: { 200: answersText('The page.', 'text/html', PAGE) },
      handle: async () => ({
        status: 200,
        text: String(await referencePage((await loadBundle()).mark)),
        headers: { 'Content-Security-Policy': CONTENT_POLICY },
      }),
    }),
    defineRoute({
      method: 'GET',
      path: '/docs/reference.js',
      summary: 'The script of the reference page',
      query: v.strictObject({ v: v.optional(v.string()) }),
      answers: { 200: answersText('The script.', 'text/javascript', '…', ['Cache-Control']) },
      handle: async ({ header }) => {
        const { plain, gzipped } = await loadBundle();
        const packed = /\bgzip\b/.test(header('accept-encoding') ?? '');
        return {
          status: 200,
          text: packed ? gzipped : plain,
          headers: {
            'Content-Type': 'text/javascript; charset=utf-8',
            // The page asks for it with its mark, so it never changes under the same address.
            'Cache-Control': `private, max-age=${YEAR}, immutable`,
            Vary: 'Accept-Encoding',
            ...(packed ? { 'Content-Encoding': 'gzip' } : {}),
          },
        };
      },
    }),
  ];
}

/** @param mark of the script, so that a new one has a new address */
function referencePage(mark: string) {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <link rel="icon" href="data:," />
        <title>SutazAI · Reference</title>
      </head>
      <body>
        <script id="api-reference" data-url="/openapi.json" data-configuration="${JSON.stringify(SCALAR)}"></script>
        <script src="/docs/reference.js?v=${mark}"></script>
      </body>
    </html>`;
}

function firstPage(links: Record<string, string>) {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <link rel="icon" href="data:," />
        <title>SutazAI</title>
        <style>
          body { font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; color: #1c1e21; }
        </style>
      </head>
      <body>
        <h1>SutazAI</h1>
        <p>A job queue in front of your own models.</p>
        <ul>
          ${Object.entries(links).map(([name, path]) => html`<li><a href="${path}">${name}</a></li>`)}
        </ul>
      </body>
    </html>`;
}
