import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openHome } from '../../src/embedded/home.ts';
import { createShell, HAS_SCRIPT, type Shell } from '../support/cli.ts';
import { ADMIN_PASSWORD, type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
});
afterAll(() => world.close());
beforeEach(() => {
  shell = createShell();
});
afterEach(() => shell.remove());

const logIn = (more: string[] = [], stdin = ADMIN_PASSWORD) =>
  shell.run(['login', '--url', world.url, '--username', user.username, ...more], { stdin });

describe('sutazai login', () => {
  it('keeps the login for its owner alone, and the other commands use it', async () => {
    const { code, stdout, stderr } = await logIn();
    expect([code, stdout, stderr]).toEqual([0, `Logged in to ${world.url} as ${user.username}.\n`, '']);
    expect(statSync(shell.credentialsFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(shell.credentialsFile, 'utf8')).not.toContain(ADMIN_PASSWORD);
    const me = JSON.parse((await shell.run(['whoami', '--json'])).stdout);
    expect(me).toMatchObject({ url: world.url, username: user.username, role: 'user' });
    expect((await shell.run(['whoami'])).stdout).toContain(`${user.username} (user) at ${world.url}`);
  });

  it('takes an e-mail address, and an API key from stdin', async () => {
    const email = await shell.run(['login', '--url', `${world.url}/`, '--username', `${user.username}@example.com`], {
      stdin: `${ADMIN_PASSWORD}\n`,
    });
    expect(email.stdout).toContain(`as ${user.username}.`);
    const { body } = await user.request<{ key: string }>('POST', '/api/v1/api-keys', { name: 'cli' });
    const keyed = await shell.run(['login', '--url', world.url, '--api-key', '-'], { stdin: `${body.key}\n` });
    expect(keyed.stdout).toContain(`as ${user.username}, with an API key.`);
    expect((await shell.run(['whoami'])).code).toBe(0);
    expect(shell.credentials().logins[world.url]).toEqual({ username: user.username, api_key: body.key });
  });

  it('says what is wrong and what to do', async () => {
    const wrong = await logIn([], 'wrong horse battery');
    expect([wrong.code, wrong.stdout]).toEqual([1, '']);
    expect(wrong.stderr).toMatch(/password.*\nTry again\. The first password of `admin`/s);
    const nobody = await shell.run(['types']);
    expect([nobody.code, nobody.stderr]).toEqual([
      1,
      'You are not logged in. Run `sutazai login`, with --url where the server is not on this machine; or set SUTAZAI_URL and SUTAZAI_API_KEY.\n',
    ]);
    const named = await shell.run(['types'], { env: { SUTAZAI_URL: world.url } });
    expect(named.stderr).toContain(`Run \`sutazai login --url ${world.url}\``);
    const away = await shell.run(['login', '--url', 'http://127.0.0.1:64999', '--username', 'ada'], { stdin: 'x' });
    expect(away.stderr).toContain('ECONNREFUSED');
    expect(away.stderr).toContain('Is the server at http://127.0.0.1:64999 running? `npm start` starts one here');
    const noTerminal = await shell.run(['login', '--url', world.url]);
    expect(noTerminal.stderr).toContain('give --username, and the password on stdin; or --api-key');
    for (const { code, stderr } of [away, noTerminal]) {
      expect(code).toBe(1);
      expect(stderr).not.toMatch(/^\s+at /m);
    }
  });

  it('finds a server that runs on this machine by itself', async () => {
    const home = openHome(join(shell.home, 'data'));
    home.writeRunInfo({ pid: process.pid, url: world.url, databaseUrl: '', ollamaHost: '', qdrantUrl: undefined });
    const { stdout } = await shell.run(['login', '--username', user.username], { stdin: ADMIN_PASSWORD });
    home.close();
    expect(stdout).toBe(`Logged in to ${world.url} as ${user.username}.\n`);
  });

  it('renews the tokens as they end, also for several commands at once', async () => {
    await logIn();
    const credentials = shell.credentials();
    const login = credentials.logins[world.url] as { tokens: { expires_at: number; refresh_token: string } };
    const used = login.tokens.refresh_token;
    login.tokens.expires_at = 0;
    writeFileSync(shell.credentialsFile, JSON.stringify(credentials));
    const all = await Promise.all([1, 2, 3].map(() => shell.run(['whoami', '--json'])));
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(Array(3).fill([0, '']));
    expect(shell.credentials().logins[world.url]).toMatchObject({
      tokens: { refresh_token: expect.not.stringMatching(used) },
    });
  });

  it('is over after sutazai logout, here and on the server', async () => {
    await logIn();
    const before = readFileSync(shell.credentialsFile, 'utf8');
    expect((await shell.run(['logout'])).stdout).toBe(`Logged out of ${world.url}.\n`);
    expect((await shell.run(['whoami'])).stderr).toContain('You are not logged in.');
    writeFileSync(shell.credentialsFile, before);
    const { code, stderr } = await shell.run(['whoami']);
    expect(code).toBe(1);
    expect(stderr).toMatch(new RegExp(`^You are not logged in any more: .*\nRun \`sutazai login --url ${world.url}\``));
  });

  it('gives way to the variables for keys and tokens, and says which of them is wrong', async () => {
    await logIn();
    const other = await world.client('viewer');
    const env = { SUTAZAI_TOKEN: other.token ?? '' };
    expect(JSON.parse((await shell.run(['whoami', '--json'], { env })).stdout).username).toBe(other.username);
    const wrong = await shell.run(['whoami'], { env: { SUTAZAI_API_KEY: 'sk_wrong' } });
    expect(wrong.stderr).toContain('Look at SUTAZAI_API_KEY');
    const url = await shell.run(['whoami'], { env: { SUTAZAI_URL: 'tasks' } });
    expect([url.code, url.stderr]).toEqual([1, expect.stringContaining('SUTAZAI_URL="tasks": wants a URL')]);
    // What a server would need is no business of these commands.
    expect((await shell.run(['whoami'], { env: { NODE_ENV: 'production', PORT: 'x' } })).code).toBe(0);
  });

  it.skipIf(!HAS_SCRIPT)('asks at a terminal, and does not show the password', async () => {
    const login = shell.inTerminal(['login', '--url', world.url]);
    await login.says(`User name at ${world.url}: `);
    login.child.stdin?.write(`${user.username}\r`);
    await login.says(`Password of ${user.username}: `);
    login.child.stdin?.write(`${ADMIN_PASSWORD}\r`);
    const { code, stdout } = await login.ended;
    expect(code).toBe(0);
    expect(stdout).toContain(`Logged in to ${world.url} as ${user.username}.`);
    expect(stdout).not.toContain('horse');
  });

  it.skipIf(!HAS_SCRIPT)('is given up with Ctrl-C at the password', async () => {
    const login = shell.inTerminal(['login', '--url', world.url, '--username', 'ada']);
    await login.says('Password of ada: ');
    login.child.stdin?.write('\x03');
    expect((await login.ended).code).toBe(130);
  });
});
