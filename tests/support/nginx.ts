import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from './open.ts';
import { freePort } from './redis.ts';
import { until } from './until.ts';

/** What a gateway sends requests to; a weight of 0 is nothing. */
export interface Target {
  target: string;
  weight: number;
}

/** A real nginx, which is what Kong is made of, with targets and weights. */
export interface Nginx {
  url: string;
  /** Gives it other targets, as Kong does it: workers of before end with their last request, new ones take what comes. */
  reload(targets: Target[]): Promise<void>;
  close(): Promise<void>;
}

/** Starts it. Each answer says in `x-served-by` who gave it. */
export async function startNginx(targets: Target[]): Promise<Nginx> {
  const folder = await mkdtemp(join(tmpdir(), 'sutazai-nginx-'));
  open.add(folder);
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const file = join(folder, 'nginx.conf');
  let generation = 0;
  const write = (given: Target[]) => writeFile(file, configuration({ folder, port, generation, targets: given }));
  await write(targets);
  const server: ChildProcess = spawn('nginx', ['-p', folder, '-c', file, '-e', join(folder, 'error.log')], {
    stdio: 'ignore',
  });
  const exited = new Promise<void>((resolve, reject) => {
    server.once('exit', () => resolve());
    server.once('error', () => reject(new Error('nginx is not on the PATH: `apt-get install nginx-light`')));
  });

  /** Several times in a row, because workers of before may take one more. */
  async function isNew(): Promise<boolean> {
    for (let count = 0; count < 8; count++) {
      const answer = await fetch(`${url}/generation`, { headers: { connection: 'close' } }).catch(() => undefined);
      if ((await answer?.text()) !== String(generation)) return false;
    }
    return true;
  }
  await Promise.race([until('nginx is up', isNew), exited.then(() => Promise.reject(new Error('nginx has ended')))]);
  return {
    url,
    async reload(next) {
      generation++;
      await write(next);
      server.kill('SIGHUP');
      await until('nginx has the new targets', isNew);
    },
    async close() {
      server.kill('SIGTERM');
      await exited;
      await rm(folder, { recursive: true, force: true });
      open.delete(folder);
    },
  };
}

function configuration({
  folder,
  port,
  generation,
  targets,
}: {
  folder: string;
  port: number;
  generation: number;
  targets: Target[];
}): string {
  const servers = targets.map(({ target, weight }) => `server ${target} ${weight > 0 ? `weight=${weight}` : 'down'};`);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(folder, name)};`,
  );
  return `
daemon off; worker_processes 2; pid ${join(folder, 'nginx.pid')}; ${process.getuid?.() === 0 ? 'user root;' : ''}
events { worker_connections 512; }
http {
  access_log off; ${temporary.join(' ')}
  upstream api { ${servers.join(' ')} keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    location = /generation { return 200 ${generation}; }
    location / {
      proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 75s; proxy_next_upstream off; add_header x-served-by $upstream_addr always;
    }
  }
}`;
}
