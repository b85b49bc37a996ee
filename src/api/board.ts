import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { type Context, Hono } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { PROBLEMS, ProblemError } from '../errors.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { isStorable } from '../tasks/clean.ts';
import { LANE_DEFAULTS, LANES } from '../tasks/lanes.ts';
import type { App } from './app.ts';
import type { Audit } from './audit.ts';
import type { Identity } from './auth/identity.ts';
import type { Principals } from './auth/principals.ts';
import { loginPage } from './login-page.ts';
import type { Env } from './request.ts';
import type { Principal } from './route.ts';

interface Options {
  backend: QueueBackend;
  identity: Identity;
  principals: Principals;
  audit: Audit;
  secureCookie: boolean;
  sessionSeconds: number;
}

export const BOARD_PATH = '/admin/queues';
const LOGIN_PATH = '/admin/login';
const COOKIE = 'sutazai_dashboard';
/** Bull Board brings scripts and styles of its own and inline configuration. */
const CONTENT_POLICY =
  "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

/**
 * Bull Board behind the same accounts: a login page and a session cookie that opens nothing else. Operators read, admins
 * steer. The guard is inside the mounted app, so that no spelling of the path goes around it.
 */
export function createBoard({ backend, identity, principals, audit, secureCookie, sessionSeconds }: Options): App {
  const full = board(backend, false);
  const readOnly = board(backend, true);
  const app: App = new Hono<Env>();
  const visitor = (c: Context<Env>) => principals.ofToken(getCookie(c, COOKIE) ?? '', 'dashboard');
  const trailOf = (c: Context<Env>, actor: Principal | undefined) =>
    audit.trail({ actor, address: c.get('address'), requestId: c.get('requestId') });

  app.get('/', async (c) => c.redirect((await visitor(c))?.can('queues:read') ? BOARD_PATH : LOGIN_PATH, 303));
  app.get('/login', (c) => c.html(loginPage(LOGIN_PATH)));
  app.post('/login', async (c) => {
    requireSameOrigin(c);
    const { login, password } = await readLogin(c);
    const trail = trailOf(c, undefined);
    const client = { address: c.get('address'), userAgent: c.req.header('user-agent') ?? null, trail };
    try {
      const user = await identity.authenticate(
        login.includes('@') ? { email: login } : { username: login },
        password,
        trail,
      );
      if (user.role !== 'admin' && user.role !== 'operator')
        throw new ProblemError('forbidden', 'The dashboard is for operators and administrators.');
      setCookie(c, COOKIE, await identity.startDashboard(user, client), {
        path: '/admin',
        httpOnly: true,
        sameSite: 'Strict',
        secure: secureCookie,
        maxAge: sessionSeconds,
      });
      return c.redirect(BOARD_PATH, 303);
    } catch (error) {
      if (error instanceof ProblemError)
        return c.html(loginPage(LOGIN_PATH, error.message), PROBLEMS[error.code].status);
      throw error;
    }
  });
  app.post('/logout', async (c) => {
    requireSameOrigin(c);
    const principal = await visitor(c);
    if (principal) await identity.logout(principal.sessionId, trailOf(c, principal));
    deleteCookie(c, COOKIE, { path: '/admin' });
    return c.redirect(LOGIN_PATH, 303);
  });

  app.all('/queues/*', guarded);
  app.all('/queues', guarded);

  async function guarded(c: Context<Env>): Promise<Response> {
    const principal = await visitor(c);
    if (!principal?.can('queues:read')) {
      if ((c.req.header('accept') ?? '').includes('text/html')) return c.redirect(LOGIN_PATH, 303);
      throw new ProblemError('unauthorized', `Log in at ${LOGIN_PATH}.`);
    }
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
      requireSameOrigin(c);
      if (!principal.can('queues:steer'))
        throw new ProblemError('forbidden', 'Your role may look at the queues but not change them.');
    }
    const answer = await (principal.can('queues:steer') ? full : readOnly).fetch(c.req.raw, c.env);
    answer.headers.set('Content-Security-Policy', CONTENT_POLICY);
    return answer;
  }
  return app;
}

/** The two fields of the login form; a file or a NUL in their place is as good as nothing. */
async function readLogin(c: Context): Promise<{ login: string; password: string }> {
  const form = await c.req.parseBody().catch(() => ({}) as Record<string, unknown>);
  const read = (name: string) => {
    const given = (form as Record<string, unknown>)[name];
    return typeof given === 'string' && isStorable(given) ? given : '';
  };
  return { login: read('login'), password: read('password') };
}

/** A browser says where a request comes from; a page of somebody else cannot change that. */
function requireSameOrigin(c: Context): void {
  const site = c.req.header('sec-fetch-site');
  const origin = c.req.header('origin');
  const host = c.req.header('host');
  const same = site
    ? site === 'same-origin' || site === 'none'
    : origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
  if (!same)
    throw new ProblemError(
      'forbidden',
      'The request comes from another site, or does not say where it comes from (the header Origin).',
    );
}

function board(backend: QueueBackend, readOnlyMode: boolean): Hono {
  const serverAdapter = new HonoAdapter(serveStatic);
  const queues = LANES.map(
    (lane) =>
      new BullMQAdapter(backend.queue(lane), {
        readOnlyMode,
        allowRetries: false,
        description: LANE_DEFAULTS[lane].about,
      }),
  );
  const uiBasePath = dirname(createRequire(import.meta.url).resolve('@bull-board/ui/package.json'));
  createBullBoard({
    queues,
    serverAdapter,
    options: { uiBasePath: join(uiBasePath), uiConfig: { boardTitle: 'SutazAI' } },
  });
  serverAdapter.setBasePath(BOARD_PATH);
  return new Hono().route(BOARD_PATH, serverAdapter.registerPlugin() as Hono);
}
