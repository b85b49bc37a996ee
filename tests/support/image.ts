import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, readText } from './sources.ts';

/** What the Dockerfile says that can be tried without Docker. */
export interface Image {
  /** What it copies out of the repository, in all stages. */
  copied: string[];
  install: string;
  /** Takes away what is installed and not used. */
  prune: string;
  /** Adds the programs of Postgres, in the stage `tools`. */
  addPostgres: string;
  /** What is compiled and kept in it. */
  compile: string;
  environment: Record<string, string>;
  entrypoint: string[];
  command: string[];
  healthCheck: string[];
  user: string;
}

export function readImage(): Image {
  const lines = readText('Dockerfile').split('\n');
  const all = (instruction: string) =>
    lines.filter((line) => line.startsWith(`${instruction} `)).map((line) => line.slice(instruction.length + 1).trim());
  const last = (instruction: string) => all(instruction).at(-1) as string;
  const copies = all('COPY').filter((line) => !line.startsWith('--from='));
  return {
    copied: [...new Set(copies.flatMap((line) => line.split(/\s+/).slice(0, -1)))].sort(),
    install: all('RUN')[0]?.split(' && ')[0] as string,
    addPostgres: /^FROM product AS tools\n(?:.*\n)*?RUN ((?:.*\\\n)*.*)/m.exec(readText('Dockerfile'))?.[1] as string,
    prune: all('RUN').find((line) => line.startsWith('find ')) as string,
    compile: /^RUN (node (?:.*\\\n)*.*)/m.exec(readText('Dockerfile'))?.[1] as string,
    environment: Object.fromEntries(
      last('ENV')
        .split(/\s+/)
        .map((pair) => pair.split('=') as [string, string]),
    ),
    entrypoint: JSON.parse(last('ENTRYPOINT')),
    command: JSON.parse(last('CMD')),
    healthCheck: JSON.parse(last('HEALTHCHECK').replace(/^.*? CMD /, '')),
    user: last('USER'),
  };
}

/** The files of the image, in a folder. */
export function copyImage({ copied }: Image, folder: string): void {
  for (const path of copied) cpSync(join(ROOT, path), join(folder, path), { recursive: true });
}
