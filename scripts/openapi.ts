// Makes docs/openapi.json from the routes: `node scripts/openapi.ts` prints it, with `--write` it is written.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createDocument, type Document } from '../src/api/reference/document.ts';
import type { Route } from '../src/api/route.ts';
import { createRoutes, type RouteParts } from '../src/api/routes/index.ts';
import { createRegistry, type Registry } from '../src/tasks/index.ts';

const FILE = new URL('../docs/openapi.json', import.meta.url);

/** Every route there is. They are made but not called here, so nothing has to stand behind them. */
export function makeRoutes(): { routes: Route[]; registry: Registry } {
  const registry = createRegistry({ vectors: true });
  const parts = {
    registry,
    vectors: {},
    kinds: {},
    outbound: {},
    config: { monitoring: {}, webhooks: {}, vectors: { most: {} } },
  };
  return { routes: createRoutes(parts as unknown as RouteParts), registry };
}

/** The document of them. */
export async function makeDocument(): Promise<Document> {
  return { ...(await createDocument(makeRoutes())), servers: [{ url: 'http://127.0.0.1:3000' }] };
}

/** The text of `docs/openapi.json` as it has to be. */
export async function renderOpenapi(): Promise<string> {
  return `${JSON.stringify(await makeDocument(), null, 1)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--write')) writeFileSync(FILE, await renderOpenapi());
  else process.stdout.write(await renderOpenapi());
}
