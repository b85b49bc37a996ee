import { sendJson } from '../../support/fake-ollama.ts';
import { defineCase } from '../rig/case.ts';
import { allEnded, askedTasks, chat, many, SAID_FULL, saidIn } from '../rig/chats.ts';
import type { Rig } from '../rig/rig.ts';
import { lasting, must, until } from '../rig/wait.ts';

/** A model host that refuses, is away, or is asked for too much. */
export const modelCases = [
  defineCase({
    id: 'F25',
    title: 'tasks that are refused for good',
    async run(rig) {
      rig.ollama.script = (_, response) => {
        sendJson(response, 400, { error: 'invalid options' });
        return true;
      };
      const webhook = { url: rig.sink.url, events: ['task.failed'] };
      await rig.client.load(
        many(50, (n) => chat(`refused ${n}`, { webhook })),
        { insist: true },
      );
      await allEnded(rig, 30_000);
      const rows = [...(await askedTasks(rig)).values()];
      must(
        rows.every(({ status, attempt, code }) => status === 'failed' && attempt === 1 && code === 'upstream_rejected'),
        'not every task failed at its first attempt',
      );
      must(rig.ollama.calls.length === 50, `there were ${rig.ollama.calls.length} calls for 50 tasks`);
      await until('a webhook of each', () => rig.sink.received.length >= 50);
      must(rig.sink.received.length === 50, `${rig.sink.received.length} webhooks came for 50 tasks`);
    },
  }),

  defineCase({
    id: 'F26',
    title: 'a model host that is gone, with 2,000 tasks waiting',
    withinSeconds: 240,
    async run(rig) {
      await outage(
        rig,
        () => rig.ollama.proxy.set({ kind: 'gone' }),
        () => rig.ollama.proxy.set({ kind: 'pass' }),
      );
    },
  }),
  defineCase({
    id: 'F26',
    title: 'a model host that is full, with 2,000 tasks waiting',
    withinSeconds: 240,
    async run(rig) {
      const asked = rig.ollama.asked.length;
      await outage(
        rig,
        () => {
          rig.ollama.everything = (_, response) => {
            sendJson(response, 503, SAID_FULL);
            return true;
          };
        },
        () => {
          // `/readyz` asks for the version as well, each second.
          const calls = rig.ollama.asked.slice(asked).filter((path) => path !== '/api/version').length;
          rig.ollama.everything = undefined;
          rig.note(`${calls} calls of the full host in ${OUTAGE_SECONDS} s`);
          must(calls < 100, `${calls} calls of a host that is full`);
        },
      );
    },
  }),

  defineCase({
    id: 'F47',
    title: 'texts beyond the context of the model',
    async run(rig) {
      rig.ollama.contextWords = 8;
      const long = 'one two three four five six seven eight nine';
      const short = long.slice(0, -5);
      const tasks = [long, short].flatMap((text) => [
        chat(`${text}`),
        { type: 'generate', input: { prompt: `${text}!` } },
        { type: 'embed', input: { input: `${text}?` } },
      ]);
      await rig.client.load(tasks, { insist: true });
      await allEnded(rig, 30_000);
      for (const [said, { status, attempt, code }] of await askedTasks(rig)) {
        const refused = status === 'failed' && code === 'context_exceeded';
        must(
          attempt === 1 && (said.includes('nine') ? refused : status === 'completed'),
          `${said}: ${status}, ${code ?? 'no error'}`,
        );
      }
    },
  }),

  defineCase({
    id: 'F48',
    title: 'chats cancelled while the model reads the prompt, on a host whose slot stays busy',
    async run(rig) {
      let reading = '';
      let left = '';
      rig.ollama.script = (call, response) => {
        if (reading) {
          sendJson(response, 503, SAID_FULL);
          return true;
        }
        if (!saidIn(call).startsWith('long')) return false;
        reading = saidIn(call);
        void call.closedEarly.then(async () => {
          left = saidIn(call);
          await lasting(2_000);
          reading = '';
        });
        return true;
      };
      const took: number[] = [];
      for (const long of ['long 1', 'long 2', 'long 3', 'long 4', 'long 5']) {
        const id = await rig.client.insist(chat(long));
        await until('the call', () => reading === long, 60_000);
        await rig.client.load(
          many(5, (n) => chat(`short ${n} during ${long}`, { max_attempts: 1 })),
          { insist: true },
        );
        await rig.client.request('POST', `/api/v1/tasks/${id}/cancel`);
        took.push((await until('the end of the call', () => left === long, 5_000, 10)).tookMs);
      }
      rig.note(`a call ended ${Math.max(...took)} ms after the cancel at most`);
      await allEnded(rig, 60_000);
      for (const [said, { status, failures }] of await askedTasks(rig)) {
        const wanted = said.startsWith('long') ? 'cancelled' : 'completed';
        must(status === wanted && failures === 0, `${said} is ${status} after ${failures} failures`);
      }
    },
  }),
];

const OUTAGE_SECONDS = 60;
/** 2,000 chats that may fail once, over an outage of the model host. */
async function outage(rig: Rig, begin: () => void, end: () => void): Promise<void> {
  begin();
  await rig.client.loadBatches(many(2_000, (n) => chat(`waits ${n}`, { max_attempts: 1 })));
  await lasting(OUTAGE_SECONDS * 1_000);
  const released = await rig.postgres.query<{ n: number }>(
    `select count(*)::int as n from attempts where outcome = 'released'`,
  );
  end();
  const first = await until(
    'the first answer',
    async () =>
      (await rig.postgres.query(`select from tasks where type = 'chat' and status = 'completed' limit 1`)).length,
    30_000,
  );
  const all = await allEnded(rig, 90_000);
  rig.note(`${released[0]?.n} attempts were turned away`);
  rig.note(
    `first answer ${(first.tookMs / 1_000).toFixed(1)} s, last ${((first.tookMs + all) / 1_000).toFixed(1)} s after the return`,
  );
  const [row] = await rig.postgres.query<{ bad: number }>(
    `select count(*)::int as bad from tasks where type = 'chat' and (status <> 'completed' or failures > 0 or losses > 0)`,
  );
  must(row?.bad === 0, `${row?.bad} tasks lost an attempt to the outage`);
}
