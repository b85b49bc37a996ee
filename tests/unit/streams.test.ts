import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Principal } from '../../src/api/route.ts';
import { createFeed, type FeedReader } from '../../src/api/streams/feed.ts';
import { createOpenStreams } from '../../src/api/streams/open-streams.ts';
import { parsePiece } from '../../src/db/tasks/streams.ts';
import { createLog } from '../../src/log.ts';
import { createAttemptText, cutAt } from '../../src/workers/live/text.ts';

const piece = (offset: number, text: string, attempt = 1, last = false) => ({
  ...{ taskId: 'a', attempt, offset, text, last },
});
const readAll = (reader: FeedReader, attempt = 1): string => {
  let text = '';
  for (let part = reader.next(attempt, 7); part; part = reader.next(attempt, 7)) {
    expect(part.offset).toBe(text.length);
    text += part.text;
  }
  return text;
};

describe('the text that an attempt makes', () => {
  it('is cleaned as an output is, also where half of a character comes with the next piece', () => {
    const text = createAttemptText(100);
    for (const part of ['a\u0000', '\ud83e', '\udd8a', '\udd8a', 'z', '\ud83e']) text.add(part);
    text.end();
    expect(text.slice(0, text.length)).toBe('a🦊\ufffdz\ufffd');
  });

  it('is refused beyond what an output may have, and cut between characters', () => {
    const text = createAttemptText(12);
    text.add('🦊🦊🦊');
    expect([cutAt(text, 0, 3), cutAt(text, 0, 4), cutAt(text, 2, 1), cutAt(text, 0, 99)]).toEqual([2, 4, 3, 6]);
    expect(() => text.add('!')).toThrow('more than 12 bytes');
  });

  it('is what it was in a notification', () => {
    expect(parsePiece('a 2 17 . two words ')).toEqual(piece(17, 'two words ', 2, true));
    expect(parsePiece('a 2 17 + ')).toEqual(piece(17, '', 2));
    expect(parsePiece('something else')).toBeUndefined();
  });
});

describe('a feed', () => {
  it('puts pieces together that overlap, and says where one is missing', () => {
    const feed = createFeed();
    const ring = vi.fn();
    const reader = feed.join(ring);
    expect([feed.take(piece(0, 'abc')), feed.take(piece(1, 'bcde')), feed.take(piece(0, 'ab'))]).toEqual([
      true,
      true,
      true,
    ]);
    expect(feed.take(piece(9, 'x'))).toBe(false);
    expect(readAll(reader)).toBe('abcde');
    expect(reader.isOver(1)).toBe(false);
    feed.take(piece(5, 'fgh', 1, true));
    expect(readAll(feed.join(ring))).toBe('abcdefgh');
    expect(reader.next(1, 99)).toEqual({ attempt: 1, offset: 5, text: 'fgh' });
    expect(reader.isOver(1)).toBe(true);
    expect(ring).toHaveBeenCalled();
  });

  it('keeps the end of an attempt for who has not read it when the next one begins', () => {
    const feed = createFeed();
    const reader = feed.join(() => {});
    feed.take(piece(0, 'first'));
    reader.next(1, 2);
    feed.take(piece(0, 'second', 2));
    feed.take(piece(5, ' end', 1, true));
    expect(reader.next(1, 99)?.text).toBe('rst end');
    expect(readAll(reader, 2)).toBe('second');
    feed.take(piece(6, '!', 2));
    expect(feed.take(piece(0, 'a piece of long ago'))).toBe(true);
    expect([feed.newest(), feed.endOf(1)]).toEqual([2, 0]);
  });

  it('lets go what all have read of a long text, and asks for all of it again for who comes late', () => {
    const feed = createFeed();
    const [quick, slow] = [feed.join(() => {}), feed.join(() => {})];
    const long = 'x'.repeat(100_000);
    quick.next(1, 1);
    slow.next(1, 1);
    for (let n = 0; n < 15; n++) {
      feed.take(piece(n * long.length, long));
      while (quick.next(1, 50_000)) {}
    }
    expect(quick.isBehind(1)).toBe(false);
    expect(slow.isBehind(1)).toBe(true);
    expect(slow.next(1, 10)).toBeUndefined();
    const late = feed.join(() => {});
    expect(feed.endOf(1)).toBe(0);
    feed.take(piece(0, long));
    expect(late.next(1, 10)).toMatchObject({ offset: 0 });
    expect(quick.next(1, 10)).toBeUndefined();
  });
});

describe('open streams', () => {
  afterEach(() => vi.useRealTimers());

  it('are hung up on where the reader takes nothing for long, and only those', async () => {
    const streams = createOpenStreams({
      limits: { perUser: 0, all: 0 },
      onGone: () => () => {},
      log: createLog('silent'),
      patienceMs: 60,
    });
    const hangUps: string[] = [];
    const enter = (name: string) => {
      const principal = { userId: 'u', sessionId: 's' } as Principal;
      return streams.enter({ principal, stillGood: async () => true, hangUp: () => hangUps.push(name) });
    };
    const [stuck, busy, idle] = [enter('stuck'), enter('busy'), enter('idle')];
    stuck.handed(true);
    idle.handed(true);
    idle.handed(false);
    const keepBusy = setInterval(() => busy.handed(true), 10);
    await vi.waitFor(() => expect(hangUps).toContain('stuck'));
    clearInterval(keepBusy);
    expect(new Set(hangUps)).toEqual(new Set(['stuck']));
    for (const one of [stuck, busy, idle]) one.leave();
    await streams.close();
  });
});
