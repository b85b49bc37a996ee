import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from './open.ts';

/** A `docker` on the PATH that asks the test what to do; there is no container engine here. */
export interface Docker {
  /** The folder that comes first in the PATH. */
  path: string;
  close(): Promise<void>;
}

/** Starts it. @param compose gets what follows `docker compose --project-directory <folder>`; what it throws is a failed command */
export async function startDocker(compose: (args: string[]) => Promise<string | undefined>): Promise<Docker> {
  const path = mkdtempSync(join(tmpdir(), 'sutazai-docker-'));
  open.add(path);
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    try {
      const [command, flag, , ...args] = body.trimEnd().split('\u0000').slice(0, -1);
      if (command !== 'compose' || flag !== '--project-directory') throw new Error(`docker ${command} ${flag}`);
      response.end((await compose(args)) ?? '');
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const script = `#!/bin/sh\nprintf '%s\\0' "$@" | curl --silent --show-error --fail --data-binary @- http://127.0.0.1:${port}/\n`;
  writeFileSync(join(path, 'docker'), script);
  chmodSync(join(path, 'docker'), 0o755);
  return {
    path,
    async close() {
      await new Promise((resolve) => server.close(resolve));
      rmSync(path, { recursive: true });
      open.delete(path);
    },
  };
}
