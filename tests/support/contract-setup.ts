import { afterAll, afterEach, expect, inject } from 'vitest';
import { type Check, createCheck, type Seen } from './contract.ts';

/** What answers of the API, in any test, were not as the reference says. */
const broken: string[] = [];
let check: Check | undefined;

/** Holds an answer against the reference. The test that got it fails at its end where they differ. */
export function holdToReference(seen: Seen): void {
  // Of the API are those answers that carry its request id; browsers' questions beforehand and the dashboard are not described.
  if (!seen.headers.has('x-request-id') || seen.method === 'OPTIONS' || isDashboard(seen.path)) return;
  check ??= createCheck(JSON.parse(inject('openapi')));
  const wrong = check(seen);
  if (wrong) broken.push(`${seen.method} ${seen.path}: ${wrong}`);
}

/** In whatever spelling. */
function isDashboard(path: string): boolean {
  const url = URL.parse(`http://api${path}`);
  return /^\/admin(\/|$)/.test((url?.pathname ?? path).replace(/%61/g, 'a'));
}

const send = globalThis.fetch;

globalThis.fetch = async (input, init) => {
  const answer = await send(input, init);
  // Whoever else answers may do so line by line, without an end.
  if (!answer.headers.has('x-request-id')) return answer;
  const request = input instanceof Request ? input : undefined;
  const json = /^application\/([\w.+-]+\+)?json\b/.test(answer.headers.get('content-type') ?? '');
  holdToReference({
    method: (init?.method ?? request?.method ?? 'GET').toUpperCase(),
    path: new URL(request?.url ?? String(input)).pathname,
    status: answer.status,
    headers: answer.headers,
    // A body that breaks off is the business of whoever reads it.
    text: json
      ? await answer
          .clone()
          .text()
          .catch(() => undefined)
      : undefined,
  });
  return answer;
};

function expectNoneBroken(): void {
  const found = broken.splice(0);
  expect(found, 'answers that the reference does not describe: see `answers` and `problems` of their routes').toEqual(
    [],
  );
}

afterEach(expectNoneBroken);
afterAll(expectNoneBroken);
