// Hono with nothing behind it.
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { jwt, sign, verify } from 'hono/jwt';

const SECRET = 'only for this bench, only for this bench';
const ANSWER = { id: '0199a5c2-7d1e-7b3a-9c44-2f1d0b6a8e10', status: 'pending' };

const app = new Hono();
const remembered = new Set<string>();
app.use('/verified', jwt({ secret: SECRET, alg: 'HS256' }));
app.use('/remembered', async (c, next) => {
  const token = c.req.header('authorization')?.slice(7) ?? '';
  if (!remembered.has(token)) {
    await verify(token, SECRET, 'HS256');
    remembered.add(token);
  }
  await next();
});
for (const path of ['/open', '/verified', '/remembered'])
  app.post(path, async (c) => {
    await c.req.json();
    return c.json(ANSWER, 202);
  });

const token = await sign({ sub: 'somebody', exp: Math.floor(Date.now() / 1000) + 3_600 }, SECRET, 'HS256');
serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) =>
  process.send?.({ url: `http://127.0.0.1:${port}`, token }),
);
