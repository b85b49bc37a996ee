// Whether a system does its work, as a client sees it: node scripts/deploy/smoke.mjs <url> [--for <seconds>] [--every <seconds>],
// with an API key in SUTAZAI_API_KEY. Plain JavaScript without dependencies, so that nothing has to be installed where it runs.
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const TIMEOUT_MS = 60_000;
/** A version is taken back where more than this share of the answers to one of the questions is wrong. */
const MOST_FAILED = 0.25;

/** What is asked, and which answers are right. */
export const CHECKS = [
  { name: 'it is alive', path: '/healthz', right: ({ status }) => status === 200 },
  { name: 'it can accept and store tasks', path: '/readyz', right: ({ status }) => status === 200 },
  { name: 'nothing is told without a token', path: '/api/v1/tasks', right: ({ status }) => status === 401 },
  {
    name: 'metrics are for the inside alone',
    path: '/metrics',
    right: ({ status }) => Number.isInteger(status) && status !== 200,
  },
  {
    name: 'somebody who cannot log in is told so',
    path: '/api/v1/auth/login',
    body: { username: 'nobody-of-that-name', password: 'not the password of anybody' },
    // Too many of these from one address are right as well.
    right: ({ status }) => status === 401 || status === 429,
  },
  {
    name: 'a task is run',
    path: '/api/v1/tasks',
    key: true,
    headers: { Prefer: 'wait=50' },
    body: { type: 'echo', title: 'smoke', input: { message: 'smoke' } },
    right: ({ body }) => body?.status === 'completed' && body.output?.message === 'smoke',
  },
];

/** Asks everything once. Answers what was not right, by the name of the check. */
export async function ask(url, apiKey) {
  const failed = new Map();
  for (const check of CHECKS) {
    const answer = await call(url, check, apiKey).catch((error) => ({ status: error.cause?.code ?? error.message }));
    if (!check.right(answer)) failed.set(check.name, `${check.path} answered ${answer.status}`);
  }
  return failed;
}

const told = (failed) => [...failed].map(([name, what]) => `${name}: ${what}`);

async function call(url, { path, body, key, headers = {} }, apiKey) {
  const response = await fetch(new URL(path, url), {
    method: body ? 'POST' : 'GET',
    headers: {
      ...headers,
      ...(body ? { 'Content-Type': 'application/json' } : {}),
      ...(key ? { 'X-API-Key': apiKey } : {}),
    },
    body: body && JSON.stringify(body),
    redirect: 'manual',
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json') ? JSON.parse(text) : undefined;
  return { status: response.status, body: json };
}

/** Everything has to be right once; then, for so many seconds, three quarters of the answers to each of the questions. */
async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { for: { type: 'string', default: '0' }, every: { type: 'string', default: '5' } },
  });
  const apiKey = process.env.SUTAZAI_API_KEY;
  if (!positionals[0] || !apiKey || !/^\d+$/.test(values.for) || !/^\d+(\.\d+)?$/.test(values.every))
    throw new Error(
      'Usage: SUTAZAI_API_KEY=sk_… node scripts/deploy/smoke.mjs <url> [--for <seconds>] [--every <seconds>]',
    );
  const first = await ask(positionals[0], apiKey);
  if (first.size > 0) throw new Error(told(first).join('\n'));
  const until = Date.now() + Number(values.for) * 1000;
  const wrong = new Map();
  let rounds = 0;
  while (Date.now() < until) {
    await sleep(Number(values.every) * 1000);
    const failed = await ask(positionals[0], apiKey);
    for (const line of told(failed)) console.error(line);
    for (const name of failed.keys()) wrong.set(name, (wrong.get(name) ?? 0) + 1);
    rounds += 1;
  }
  const bad = [...wrong].filter(([, times]) => times > rounds * MOST_FAILED);
  if (bad.length > 0)
    throw new Error(bad.map(([name, times]) => `${name}: ${times} of ${rounds} answers were wrong.`).join('\n'));
  const [asked, failed] = [(rounds + 1) * CHECKS.length, [...wrong.values()].reduce((sum, one) => sum + one, 0)];
  console.log(`It does its work: ${asked - failed} of ${asked} answers were right.`);
}

if (process.argv[1] === import.meta.filename) {
  try {
    await main();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
