import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { until } from '../support/until.ts';
import { BACKENDS, createWorld } from '../support/world.ts';

it.each(BACKENDS)('a process that stops takes no task on %s while it waits for a request', async (backend) => {
  const world = await createWorld({ backend, env: { SHUTDOWN_GRACE_SECONDS: '20' } });
  const client = await world.client();
  // Half of a request keeps the API busy until it breaks off.
  const socket = connect(Number(new URL(world.url).port), '127.0.0.1');
  socket.on('error', () => {});
  socket.write(
    `POST /api/v1/tasks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${client.token}\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{`,
  );
  // An answer on a later connection shows that the half one was read.
  await client.request('GET', '/healthz');
  const other = await world.join('api');
  let closed = false;
  const closing = world.running.close().then(() => {
    closed = true;
  });
  // Its port takes nobody any more: it is stopping, and the half request holds it.
  await until('it listens no more', () =>
    fetch(`${world.url}/healthz`).then(
      () => false,
      () => true,
    ),
  );
  const answer = await fetch(`${other.url}/api/v1/tasks`, {
    method: 'POST',
    headers: { authorization: `Bearer ${client.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ type: 'echo', input: { message: 'late' } }),
  });
  expect(answer.status).toBe(202);
  // Time enough to take it.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(closed).toBe(false);
  socket.destroy();
  await closing;
  const { id } = (await answer.json()) as { id: string };
  const row = await world.db.selectFrom('tasks').select(['status', 'attempt']).where('id', '=', id).executeTakeFirst();
  expect(row).toEqual({ status: 'pending', attempt: 0 });
  await world.close();
});
