import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { HonoAdapter } from '@bull-board/hono';
import { serveStatic } from '@hono/node-server/serve-static';
import { type Context, Hono } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { insertAudit } from '../db/audit.ts';
import type { Db } from '../db/connect.ts';
import { deletePausedLane, insertPausedLane } from '../db/paused-lanes.ts';
import { PROBLEMS, ProblemError } from '../errors.ts';
import type { QueueBackend } from '../queues/backend.ts';
import { applyPauses } from '../queues/pauses.ts';
import { isStorable } from '../tasks/clean.ts';
import { LANE_DEFAULTS, LANES } from '../tasks/lanes.ts';
import type { App } from './app.ts';
import type { Audit } from './audit.ts';
import type { Identity } from './auth/identity.ts';
import type { Principals } from './auth/principals.ts';
import { type Limits, refuseBeyond } from './limits/index.ts';
import { loginPage } from './login-page.ts';
import { ROLE_PERMISSIONS } from './policy.ts';
import type { Env } from './request.ts';
import type { Principal } from './route.ts';

interface Options {
  db: Db;
  backend: QueueBackend;
  identity: Identity;
  principals: Principals;
  audit: Audit;
  limits: Limits;
  secureCookie: boolean;
  sessionSeconds: number;
}

export const BOARD_PATH = '/admin/queues';
const LOGIN_PATH = '/admin/login';
const COOKIE = 'sutazai_dashboard';
/** The scripts of Bull Board are files; what stands in its page is data and styles. */
const CONTENT_POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "object-src 'none'",
  "base-uri 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');
/**
 * Bull Board behind the same accounts: a login page and a session cookie that opens nothing else. Operators read, admins
 * steer. The guard is inside the mounted app, so that no spelling of the path goes around it.
 */
export function createBoard({
  db,
  backend,
  identity,
  principals,
  audit,
  limits,
  secureCookie,
  sessionSeconds,
}: Options): App {
  const full = board(db, backend, false);
  const readOnly = board(db, backend, true);
  const app: App = new Hono<Env>();
  const visitor = (c: Context<Env>) => principals.ofToken(getCookie(c, COOKIE) ?? '', ['dashboard']);
  const trailOf = (c: Context<Env>, actor: Principal | undefined) =>
    audit.trail({ actor, address: c.get('address'), requestId: c.get('requestId') });

  app.get('/', async (c) => c.redirect((await visitor(c))?.can('queues:read') ? BOARD_PATH : LOGIN_PATH, 303));
  app.get('/login', (c) => c.html(loginPage(LOGIN_PATH)));
  app.post('/login', async (c) => {
    requireSameOrigin(c);
    const rate = await limits.attempt(c.get('address'));
    c.set('rate', rate);
    const { login, password } = await readLogin(c);
    const trail = trailOf(c, undefined);
    const client = { address: c.get('address'), userAgent: c.req.header('user-agent') ?? null, trail };
    try {
      refuseBeyond(rate);
      const user = await identity.authenticate(
        login.includes('@') ? { email: login } : { username: login },
        password,
        trail,
      );
      if (!ROLE_PERMISSIONS[user.role].has('queues:read')) {
        const object = { type: 'user', id: user.id };
        trail.record({
          action: 'auth.login',
          outcome: 'refused',
          object,
          details: { reason: 'role', for: 'dashboard' },
        });
        throw new ProblemError('forbidden', 'The dashboard is for operators and administrators.');
      }
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
        return c.html(loginPage(LOGIN_PATH, error.message), PROBLEMS[error.code].status, error.headers);
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
      const trail = trailOf(c, principal);
      const change = { action: 'dashboard.change', object: { type: 'dashboard', id: objectOf(c) } } as const;
      if (!principal.can('queues:steer')) {
        trail.record({ ...change, outcome: 'refused' });
        throw new ProblemError('forbidden', 'Your role may look at the queues but not change them.');
      }
      await insertAudit(db, [trail.entry(change)]);
    }
    const answer = await (principal.can('queues:steer') ? full : readOnly).fetch(c.req.raw, c.env);
    // Its errors carry the words of Redis and Postgres.
    if (answer.status >= 500) throw new Error('the dashboard failed', { cause: await answer.text() });
    const shown = (answer.headers.get('content-type') ?? '').includes('text/html')
      ? await withoutFonts(answer)
      : answer;
    shown.headers.set('Content-Security-Policy', CONTENT_POLICY);
    return shown;
  }
  return app;
}

/** The page without the fonts that it would ask Google for; those of the system do. */
async function withoutFonts(page: Response): Promise<Response> {
  const html = (await page.text()).replace(/<link\b[^>]*\/\/fonts\.[^>]*>/g, '');
  return new Response(html, page);
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

/** What a changing call is about: its method and its path below the dashboard. */
function objectOf(c: Context): string {
  return `${c.req.method} ${c.req.path.slice(BOARD_PATH.length)}`.slice(0, 200);
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

/** A job by the type of its task; that of a step says of which workflow, so that the search finds all of one. */
function nameOf({ name, data }: { name?: string; data?: unknown }): string {
  const { parent_id } = (data ?? {}) as { parent_id?: string };
  return parent_id ? `${name} (step of ${parent_id})` : String(name);
}

function board(db: Db, backend: QueueBackend, readOnlyMode: boolean): Hono {
  const serverAdapter = new HonoAdapter(serveStatic);
  const queues = LANES.map((lane) => {
    const description = LANE_DEFAULTS[lane].about;
    const adapter = new BullMQAdapter(backend.queue(lane), { readOnlyMode, allowRetries: false, description });
    adapter.setFormatter('name', nameOf);
    // What stands still is written in the table; what only the queue store knew would be undone by the reconciler.
    adapter.pause = async () => {
      await insertPausedLane(db, lane, 'the dashboard');
      await applyPauses(db, backend);
    };
    adapter.resume = async () => {
      await deletePausedLane(db, lane);
      await applyPauses(db, backend);
    };
    return adapter;
  });
  const uiBasePath = dirname(createRequire(import.meta.url).resolve('@bull-board/ui/package.json'));
  createBullBoard({
    queues,
    serverAdapter,
    options: { uiBasePath: join(uiBasePath), uiConfig: { boardTitle: 'SutazAI' } },
  });
  serverAdapter.setBasePath(BOARD_PATH);
  return new Hono().route(BOARD_PATH, serverAdapter.registerPlugin() as Hono);
}
