import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { applyCancelAfter, parsePreferWait, prepareTask, submission } from '../../src/api/submit.ts';
import { ProblemError } from '../../src/errors.ts';
import { createSecretBox } from '../../src/secretbox.ts';
import { createRegistry } from '../../src/tasks/index.ts';

const box = createSecretBox(Buffer.alloc(32, 3).toString('base64'));
const given = (more = {}) => v.parse(submission, { type: 'echo', input: { message: 'x' }, ...more });

describe('Prefer: wait', () => {
  it.each([
    ['wait=1', 1],
    ['wait=55', 55],
    ['wait=56', 55],
    ['wait=999999', 55],
    ['WAIT = 5', 5],
    ['wait="5"', 5],
    ['respond-async, wait=5', 5],
    ['respond-async; wait=5; x', 5],
    ['respond-async wait=5', 5],
    ['wait=007', 7],
    [undefined, undefined],
    ['', undefined],
    ['wait', undefined],
    ['wait=', undefined],
    ['wait=0', undefined],
    ['wait=-5', undefined],
    ['await=5', undefined],
    ['x-wait=5', undefined],
    ['wait=x5', undefined],
  ])('of %j is %j seconds', (header, seconds) => {
    expect(parsePreferWait(header)).toBe(seconds);
  });
});

describe('Cancel-After', () => {
  it.each([
    ['90s', 90],
    [' 90 ', 90],
    ['90 s', 90],
    ['10m', 600],
    ['2h', 7200],
    ['31536000', 31_536_000],
  ])('%j is a deadline of %d seconds', (header, seconds) => {
    expect(applyCancelAfter(given(), header).expires_in_seconds).toBe(seconds);
  });

  it.each(['', '0', '0m', '-1s', '1.5s', '1d', '8761h', 'soon', '1s2m', '1e3'])('refuses %j', (header) => {
    expect(() => applyCancelAfter(given(), header)).toThrow(ProblemError);
  });

  it('changes nothing where it is not sent; where the body has a deadline too, the earlier counts', () => {
    expect(applyCancelAfter(given(), undefined)).toEqual(given());
    expect(applyCancelAfter(given({ expires_in_seconds: 5 }), '90s').expires_in_seconds).toBe(5);
    expect(applyCancelAfter(given({ expires_in_seconds: 100 }), '9s').expires_in_seconds).toBe(9);
  });
});

describe('making a row of a submission', () => {
  const context = {
    registry: createRegistry({ vectors: false }),
    box,
    checkUrl: (url: string) => (url.includes('bad') ? 'is bad' : undefined),
  };
  const whose = { userId: 'u', requestId: 'r', batchId: null, watched: true, usualPriority: 5, pointer: '#/tasks/3' };
  const prepare = (more: object) => prepareTask(given(more), whose, context);

  it('takes what is not said from the task type', () => {
    expect(prepare({})).toEqual({
      secret: undefined,
      task: expect.objectContaining({
        ...{
          user_id: 'u',
          type: 'echo',
          lane: 'system',
          title: null,
          priority: 5,
          max_attempts: 3,
          timeout_ms: 30_000,
        },
        ...{
          metadata: {},
          tags: [],
          webhook: null,
          request_id: 'r',
          scheduled_for: null,
          expires_in_ms: null,
          watched: true,
        },
      }),
    });
  });

  it('gathers the errors of the input, the times and the webhook, each below the pointer', () => {
    const wrong = {
      input: { message: 1, x: 1 },
      delay_seconds: 1,
      scheduled_for: '2030-01-01T00:00:00Z',
      webhook: { url: 'http://bad' },
    };
    const made = prepare(wrong) as { errors: Array<{ pointer: string }> };
    expect(made.errors.map(({ pointer }) => pointer)).toEqual([
      ...['#/tasks/3/input/message', '#/tasks/3/input/x', '#/tasks/3/delay_seconds', '#/tasks/3/webhook/url'],
    ]);
  });

  it('offers no vector types where there is no vector store', () => {
    const made = prepare({ type: 'vector.search' }) as { errors: Array<{ detail: string }> };
    expect(made.errors[0]?.detail).toMatch(
      /there are echo, chat, generate, embed, http\.request, agent\.run, workflow$/,
    );
  });

  it('seals the webhook secret, the given one and the one it makes', () => {
    const secret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
    for (const webhook of [{ url: 'https://a.example' }, { url: 'https://a.example', secret }]) {
      const made = prepare({ webhook });
      if (!('task' in made) || !made.task.webhook) throw new Error('no webhook was stored');
      expect(JSON.stringify(made.task)).not.toContain('whsec_');
      expect(box.open(Buffer.from(made.task.webhook.secret, 'base64'))).toBe(
        'secret' in webhook ? secret : made.secret,
      );
      expect(made.secret === undefined).toBe('secret' in webhook);
    }
  });
});
