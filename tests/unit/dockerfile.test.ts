import { expect, test } from 'vitest';
import { dockerfileProblems } from '../support/dockerfile-rules.ts';
import { readText } from '../support/sources.ts';

const DOCKERFILE = readText('Dockerfile');

test('the Dockerfile keeps the rules', () => {
  expect(dockerfileProblems(DOCKERFILE)).toEqual([]);
});

test.each<[string, string | RegExp, string, string]>([
  ['an unknown instruction', 'USER node', 'USER node\nEXPOZE 1', 'Unknown instruction: EXPOZE'],
  ['an unknown flag', '--interval=10s', '--intervall=10s', 'Unknown flag'],
  ['JSON in single quotes', 'CMD ["api"]', "CMD ['api']", 'single quotes'],
  ['a command as text', 'CMD ["api"]', 'CMD api', 'DL3025'],
  ['a second command', 'CMD ["api"]', 'CMD ["api"]\nCMD ["worker"]', 'CMD'],
  ['an image without a version', /FROM node:24-slim AS product$/m, 'FROM node AS product', 'DL3006'],
  ['the latest image', /FROM node:24-slim AS product$/m, 'FROM node:latest AS product', 'DL3006'],
  ['root', 'USER node', 'USER root', 'DL3002'],
  ['root in a stage that is an image of its own', /USER node(?=\n\n#)/, 'USER root', 'DL3002'],
  ['no user at all', /^USER (?:node|root)$/gm, '', 'DL3002'],
  ['a stage that is not there', '--from=deps', '--from=build', 'DL3022'],
  ['ADD', 'COPY src', 'ADD src', 'DL3020'],
  ['a relative folder', /WORKDIR \/app/g, 'WORKDIR app', 'DL3000'],
  ['an install beside the lock', 'npm ci', 'npm install', 'DL3016'],
  ['a pipe', 'npm ci', 'npm ci | tee log', 'DL4006'],
  ['a secret in the environment', 'NODE_ENV=production', 'JWT_SECRET_KEY=x', 'a secret'],
  ['no health check', /^HEALTHCHECK.*$/m, '', 'DL3057'],
])('%s is found', (_, from, to, problem) => {
  const spoilt = DOCKERFILE.replace(from, to);
  expect(spoilt).not.toBe(DOCKERFILE);
  expect(dockerfileProblems(spoilt).join('\n')).toContain(problem);
});
