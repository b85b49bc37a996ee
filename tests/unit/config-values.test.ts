import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { problemsOf } from '../support/config-problems.ts';

describe('a value of the configuration', () => {
  it.each([
    ['PORT', '-1'],
    ['PORT', '3000.5'],
    ['PORT', '0x10'],
    ['PORT', ' 3000'],
    ['MAX_BODY_BYTES', '1e9'],
    ['OLLAMA_HOST', 'a:1,a:1'],
    ['OLLAMA_HOST', 'a,a:11434'],
    ['OLLAMA_HOST', 'ftp://a'],
    ['OLLAMA_HOST', 'a:'],
    ['HOST', 'not a host'],
    ['HEALTH_HOST', '127.0.0.1:3001'],
    ['WORKER_LANES', ','],
    ['PUBLIC_URL', 'https://me@tasks.example.com'],
    ['PUBLIC_URL', 'https://tasks.example.com/?a'],
    ['QDRANT_URL', 'http://vectors.example.com/?a'],
    ['PUBLIC_URL', 'https://tasks.example.com/#a'],
    ['DATABASE_URL', 'postgres://'],
    ['OLLAMA_NUM_PARALLEL', '0'],
    ['MODELS_BY_ROLE', 'guest:a'],
    ['MODELS_BY_ROLE', 'user'],
    ['OLLAMA_AUTO_PULL', 'maybe'],
    ['PUBLIC_URL', 'tasks.example.com'],
    ['PUBLIC_URL', 'ftp://tasks.example.com'],
    ['DATABASE_URL', 'mysql://localhost/x'],
    ['REDIS_URL', 'localhost:6379'],
    ['QUEUE_PREFIX', 'a-b'],
    ['QUEUE_PREFIX', '{a}'],
    ['ADMIN_EMAIL', 'root'],
    ['ADMIN_PASSWORD', 'short'],
    ['JWT_SECRET_KEY', 'x'.repeat(31)],
    ['JWT_ALGORITHM', 'none'],
    ['JWT_ALGORITHM', 'RS256'],
    ['ENCRYPTION_KEY', Buffer.alloc(31).toString('base64')],
    ['POSTGRES_HOST', 'db host'],
    ['POSTGRES_HOST', 'db:5432'],
    ['REDIS_HOST', 'redis://cache'],
    ['EGRESS_ALLOW', '10.0.0.0/33'],
    ['EGRESS_ALLOW', '10.0.0.0/x'],
    ['EGRESS_ALLOW', '10.0.0.0/8/8'],
    ['EGRESS_ALLOW', '10.0.0'],
    ['EGRESS_ALLOW', 'fd00::/129'],
    ['EGRESS_ALLOW', 'http://hooks.internal/'],
    ['EGRESS_ALLOW', 'hooks.internal/24'],
  ])('refuses %s=%s', (name, value) => {
    expect(problemsOf({ [name]: value })).toEqual([expect.stringMatching(new RegExp(`^${name}=.*wants`))]);
  });

  it.each([
    ['OLLAMA_AUTO_PULL', 'YES', 'models', { autoPull: true }],
    ['OLLAMA_AUTO_PULL', 'off', 'models', { autoPull: false }],
    ['OLLAMA_HOST', 'a:1', 'models', { hosts: ['http://a:1'] }],
    ['OLLAMA_HOST', 'https://b/', 'models', { hosts: ['https://b'] }],
    ['OLLAMA_HOST', '127.0.0.1', 'models', { hosts: ['http://127.0.0.1:11434'] }],
    [
      'OLLAMA_HOST',
      'a:80, ::1, [::1]:1, b/x/',
      'models',
      { hosts: ['http://a:80', 'http://[::1]:11434', 'http://[::1]:1', 'http://b:11434/x'] },
    ],
    ['DATABASE_URL', 'postgres:///db?host=/run/postgresql', 'database', { url: 'postgres:///db?host=/run/postgresql' }],
    ['HOST', '::', 'http', { host: '::' }],
    ['OLLAMA_HOST', 'a:1, https://b/', 'models', { hosts: ['http://a:1', 'https://b'] }],
    ['MODELS_BY_ROLE', 'user:a, b:1b; operator:*', 'models', { byRole: { user: ['a', 'b:1b'], operator: ['*'] } }],
    ['MODELS_BY_ROLE', 'viewer:', 'models', { byRole: { viewer: [] } }],
    ['WORKER_LANES', 'llm, system', 'worker', { lanes: ['llm', 'system'] }],
    ['PUBLIC_URL', 'https://x.example.com/', 'http', { publicUrl: 'https://x.example.com' }],
    ['ACCESS_TOKEN_EXPIRE_MINUTES', '5', 'auth', { accessSeconds: 300 }],
  ] as const)('reads %s=%s', (name, value, room, wanted) => {
    expect(loadConfig({ [name]: value })[room]).toMatchObject(wanted);
  });

  it('reads addresses, CIDRs and names that users may call', () => {
    expect(loadConfig({ EGRESS_ALLOW: '10.1.2.0/24, ::1,fd00::/8 ,127.0.0.1,hooks.internal' }).egressAllow).toEqual([
      ...['10.1.2.0/24', '::1', 'fd00::/8', '127.0.0.1', 'hooks.internal'],
    ]);
  });
});
