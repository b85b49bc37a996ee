import { defineCase } from '../rig/case.ts';
import type { Rig } from '../rig/rig.ts';
import { must, until } from '../rig/wait.ts';

const WORKFLOWS = 6;
const WIDE = 15;

/** Calls the agent once, then for each of a list, then for each of what came of that, which is undone where the last step fails. */
function definition(url: string, fails: boolean) {
  const call = (sleep_ms: number) => ({ method: 'POST', url, body: { sleep_ms } });
  const list = Array.from({ length: WIDE }, (_, n) => n);
  return {
    steps: [
      { id: 'first', type: 'http.request', input: call(50) },
      { id: 'wide', type: 'http.request', for_each: list, max_parallel: 6, needs: ['first'], input: call(250) },
      {
        ...{ id: 'again', type: 'http.request', for_each: 'steps.wide.output', input: call(150) },
        compensate: { type: 'echo', input: { message: '${{ string(index) }}' } },
      },
      {
        ...{ id: 'last', type: 'echo', on_failure: 'compensate' },
        ...{ needs: ['again'], input: fails ? { message: '${{ steps.first.output.nothing }}' } : { message: 'done' } },
      },
    ],
  };
}

/** What was done in all workflows together. */
async function done(rig: Rig): Promise<number> {
  const [row] = await rig.postgres.query<{ done: number }>(
    `select count(*)::int as done from tasks where parent_id is not null and status = 'completed'`,
  );
  return row?.done ?? 0;
}

/** Workflows. */
export const workflowCases = [
  defineCase({
    id: 'F70',
    title:
      'workflows go to their end through kills of workers, of the API, of Postgres and of Redis: each step commits once',
    async run(rig) {
      const [one, other] = rig.workers;
      const [api] = rig.apis;
      must(one && other && api, 'there is no worker');
      const ids: string[] = [];
      for (let n = 0; n < WORKFLOWS; n++)
        ids.push(await rig.client.insist({ type: 'workflow', input: definition(rig.agent.url, n % 2 === 1) }));
      const steps = WORKFLOWS * (1 + 2 * WIDE);
      const at = (part: number) => until(`${part} of the steps`, async () => (await done(rig)) >= part * steps, 90_000);
      await at(0.1);
      await rig.kill(one);
      await at(0.2);
      await Promise.all([rig.kill(other), one.start()]);
      await at(0.5);
      // Whoever swept, and led, is gone too.
      await Promise.all([rig.kill(api), other.start()]);
      await api.start();
      await at(0.6);
      await rig.postgres.signal('SIGQUIT');
      await rig.postgres.start();
      await at(0.7);
      await rig.redis?.signal('SIGKILL');
      await rig.redis?.start({ empty: true });
      await at(0.8);
      await Promise.all([rig.kill(one), rig.kill(other)]);
      await Promise.all([one.start(), other.start()]);
      await until(
        'the end of all',
        async () => {
          const [row] = await rig.postgres.query<{ left: number }>(
            'select count(*)::int as left from tasks where completed_at is null',
          );
          return row?.left === 0;
        },
        90_000,
      );

      const parts = await rig.postgres.query<{ parent_id: string; title: string; status: string; ends: number }>(
        `select parent_id, title, status, (select count(*)::int from attempts a where a.task_id = t.id and a.outcome = 'completed') as ends
         from tasks t where parent_id is not null`,
      );
      const listed = (name: string) => Array.from({ length: WIDE }, (_, n) => `${name}[${n}]`);
      const wanted = ['first', ...listed('wide'), ...listed('again')];
      for (const [n, id] of ids.entries()) {
        const own = parts.filter((part) => part.parent_id === id);
        const fails = n % 2 === 1;
        const names = [...wanted, ...(fails ? listed('undo again') : ['last'])].sort().join();
        must(
          own
            .map(({ title }) => title)
            .sort()
            .join() === names,
          `a workflow did ${own.map(({ title }) => title).sort()}`,
        );
        must(
          own.every(({ status, ends }) => status === 'completed' && ends === 1),
          'a step did not complete once',
        );
        const [whole] = await rig.postgres.query<{ status: string }>('select status from tasks where id = $1', [id]);
        must(whole?.status === (fails ? 'failed' : 'completed'), `a workflow is ${whole?.status}`);
      }
      const [left] = await rig.postgres.query<{ left: number }>('select count(*)::int as left from workflow_ends');
      rig.note(`${parts.length} steps of ${WORKFLOWS} workflows, ${rig.agent.ledger.length} calls`);
      // The notes of workflows that failed wait for the sweep.
      must((left?.left ?? 0) <= WORKFLOWS, `${left?.left} ends were reckoned with by nobody`);
    },
  }),
];
