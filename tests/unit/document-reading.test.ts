import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { createOutbound } from '../../src/clients/outbound.ts';
import { knownKind } from '../../src/documents/kinds.ts';
import { readDocument } from '../../src/documents/read.ts';
import { createDocumentReader } from '../../src/documents/reader.ts';
import { TaskError } from '../../src/errors.ts';
import { createLog } from '../../src/log.ts';
import { loadContent } from '../../src/workers/tools/document-content.ts';
import { embedTexts } from '../../src/workers/tools/document-embedding.ts';
import { makePdf } from '../support/pdf.ts';
import { startScriptedHttp } from '../support/scripted-http.ts';

/** Says that a password is needed, and has of its hashes none that fits the empty one. */
const ENCRYPTED = `/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O (${'o'.repeat(32)}) /U (${'u'.repeat(32)}) >> /ID [(i) (i)]`;

const bytes = (text: string) => new TextEncoder().encode(text);
async function read(contentType: string | undefined, content: Uint8Array | string, name?: string) {
  const { kind, title, blocks } = await readDocument(
    { contentType, name },
    typeof content === 'string' ? bytes(content) : content,
  );
  return {
    kind,
    title,
    texts: blocks.map((block) => (block.kind === 'heading' ? `#${block.level} ${block.text}` : block.text)),
  };
}

describe('a document is read', () => {
  it('as Markdown: what a reader sees', async () => {
    const source =
      '---\ntitle: "Front"\n---\n# Top *one*\n\nA [link](http://x)\nand `code`.\n\n- a\n- b\n\n```js\nlet a;\n```\n\n| k | v |\n|---|---|\n| 1 | 2 |\n';
    expect(await read('text/markdown', source)).toEqual({
      kind: 'markdown',
      title: 'Front',
      texts: ['#1 Top one', 'A link and code.', '- a\n- b', 'let a;', '| k | v |\n|---|---|\n| 1 | 2 |'],
    });
  });

  it('as HTML: without scripts, styles and navigation', async () => {
    const source =
      '<html><head><title>A &amp; B</title><style>x{}</style></head><body><nav>menu</nav><h2>Top</h2><p>One &lt;b&gt;.</p><script>evil()</script></body></html>';
    expect(await read('text/html', source)).toEqual({ kind: 'html', title: 'A & B', texts: ['#2 Top', 'One <b>.'] });
  });

  it('as JSON: each value with its path', async () => {
    const { texts } = await read('application/json', '{"servers": [{"name": "alpha"}, 2], "none": null}');
    expect(texts).toEqual(['servers[0].name: alpha\nservers[1]: 2', 'none: null']);
  });

  // By a pattern that looks for blanks at an end, each of these takes minutes.
  it.each([
    ['text/plain', (blanks: string) => `\n\none${blanks}two${blanks}\n`, (blanks: string) => [`one${blanks}two`]],
    ['text/html', (blanks: string) => `<pre>\none${blanks}two${blanks}</pre>`, (blanks: string) => [`one${blanks}two`]],
    ['text/markdown', (blanks: string) => `one${blanks}two\nthree`, (blanks: string) => [`one${blanks}two three`]],
  ])('as %s, with however many blanks in it', async (type, source, texts) => {
    const blanks = ' '.repeat(300_000);
    expect((await read(type, source(blanks))).texts).toEqual(texts(blanks));
  });

  it('as PDF: by pages', async () => {
    const pdf = makePdf([['One.'], ['Two.']], { title: 'Both' });
    expect(await read(undefined, pdf)).toEqual({
      kind: 'pdf',
      title: 'Both',
      texts: ['#1 Page 1', 'One.', '#1 Page 2', 'Two.'],
    });
  });

  it('by its byte order mark, its charset, or as what old texts are in', async () => {
    const texts = async (type: string, content: Uint8Array) => (await read(type, content)).texts;
    expect(await texts('text/plain', new Uint8Array([0xff, 0xfe, 0xe4, 0, 0x21, 0]))).toEqual(['ä!']);
    expect(await texts('text/plain', new Uint8Array([0xef, 0xbb, 0xbf, 0xc3, 0xa4]))).toEqual(['ä']);
    expect(await texts('text/plain; charset=iso-8859-15', new Uint8Array([0xa4]))).toEqual(['€']);
    expect(await texts('text/plain', new Uint8Array([0xe4, 0x80]))).toEqual(['ä€']);
    expect(await texts('text/plain', bytes('a\r\nb\rc\u0001d'))).toEqual(['a\nb\ncd']);
  });

  it.each([
    [undefined, 'a.md', '# x', 'markdown'],
    ['text/plain', 'a.md', '# x', 'markdown'],
    ['application/octet-stream', undefined, '<!doctype html><p>x', 'html'],
    [undefined, undefined, '[1]', 'json'],
    [undefined, undefined, '[1', 'text'],
    ['application/ld+json', undefined, '{"a":1}', 'json'],
    ['text/csv', undefined, 'a;b', 'text'],
  ])('of the type %s and the name %s, %s, as %4$s', async (type, name, content, kind) => {
    expect((await read(type, content, name)).kind).toBe(kind);
  });

  it('by its first bytes alone, where that is enough', () => {
    const kindOf = (content: string) => knownKind({ contentType: 'application/octet-stream' }, bytes(content));
    expect(['One {2}', '<!doctype html>', '%PDF-1.7'].map(kindOf)).toEqual(['text', 'html', 'pdf']);
    // Only whoever parses all of these knows more.
    expect([' [1]', '\ufeff{', ' '.repeat(2_000)].map(kindOf)).toEqual([undefined, undefined, undefined]);
  });

  it.each([
    ['application/pdf', 'hello', 'does not begin as one'],
    ['text/plain', makePdf([['x']]), 'is a PDF'],
    ['application/pdf', '%PDF-1.7\nhello', 'broken'],
    ['application/pdf', makePdf([[]]), 'has no text'],
    ['application/pdf', makePdf([['x']], { more: ENCRYPTED }), 'encrypted'],
    ['text/plain', 'PK\u0003\u0004aaaa', 'an archive'],
    ['text/plain', new Uint8Array([65, 0, 66]), 'not a text'],
    ['image/png', 'x', 'cannot be read'],
    ['text/plain; charset=klingon', 'x', 'not known'],
    ['application/json', '['.repeat(1_000), 'nests too deep'],
    ['text/markdown', `${'> '.repeat(100_000)}x`, 'nests too deep'],
    ['text/markdown', `x\n\n${'1. - > '.repeat(20)}x`, 'nests too deep'],
    ['text/plain', ' \n ', 'has no text'],
  ])('not where it is %s with other content', async (type, content, said) => {
    await expect(read(type, content)).rejects.toThrow(said);
  });
});

describe('the process that reads documents', () => {
  const reader = createDocumentReader({ log: createLog('silent'), maxMs: 60_000 });
  afterAll(() => reader.close());
  afterEach(() => {
    vi.useRealTimers();
  });
  const options = { maxTokens: 100, overlapTokens: 10 };
  const job = (contentType: string, content: string) => ({ about: { contentType }, bytes: bytes(content), options });
  const never = new AbortController().signal;

  it('answers the chunks, is ended where a file keeps it busy, and another goes on', async () => {
    expect((await reader.read(job('text/plain', 'One.'), never)).chunks).toHaveLength(1);
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const busy = reader.read(job('text/html', '<div>'.repeat(400_000)), never).catch((error) => error);
    vi.advanceTimersByTime(59_999);
    expect(await Promise.race([busy, pause(100)])).toBeUndefined();
    vi.advanceTimersByTime(1);
    expect(await busy).toMatchObject({
      code: 'document_unreadable',
      retryable: false,
      message: expect.stringContaining('60 s'),
    });
    vi.useRealTimers();
    expect((await reader.read(job('text/plain', 'Two.'), never)).chunks[0]?.text).toContain('Two.');
  });

  it('lets nobody wait long for a turn', async () => {
    const narrow = createDocumentReader({ log: createLog('silent'), processes: 1, turnMs: 20 });
    const { promise: hold, resolve: go } = Promise.withResolvers<void>();
    const first = narrow.turn(never, () => hold);
    await expect(narrow.turn(never, async () => {})).rejects.toMatchObject({ code: 'document_busy', later: true });
    await expect(narrow.turn(AbortSignal.abort(new Error('cancelled')), async () => {})).rejects.toThrow('cancelled');
    const waiting = narrow.turn(never, async () => 'its turn');
    go();
    expect(await waiting).toBe('its turn');
    await first;
  });

  it('stops with the attempt', async () => {
    const stop = new AbortController();
    const reading = reader.read(job('text/html', '<div>'.repeat(400_000)), stop.signal);
    stop.abort(new Error('cancelled'));
    await expect(reading).rejects.toThrow('cancelled');
  });
});

it('a page that drips in is given up in time', async () => {
  const site = await startScriptedHttp();
  site.script((response) => response.writeHead(200, { 'content-type': 'text/plain' }).write('a drop'));
  const outbound = createOutbound(['127.0.0.1']);
  const attempt = { signal: new AbortController().signal, task: { attempt: 1 } } as never;
  const request = { collection: 'c', url: site.url } as never;
  try {
    const loading = loadContent({ db: {} as never, outbound, maxFileBytes: 1_024, fetchMs: 50 }, attempt, request);
    await expect(loading).rejects.toMatchObject({ code: 'upstream_unavailable', retryable: true });
  } finally {
    await outbound.close();
    await site.close();
  }
});

it('a text that a model has no room for is embedded in halves, whatever stands beside it', async () => {
  const asked: string[][] = [];
  const embed = async (input: string[]) => {
    asked.push(input);
    if (input.some((text) => text.length > 60)) throw new TaskError('context_exceeded', 'too long');
    return input.map((text) => [text.length, 0]);
  };
  const vectors = await embedTexts(embed, ['short', 'word '.repeat(20), 'also short']);
  expect(vectors).toHaveLength(3);
  expect(vectors[0]).toEqual([5, 0]);
  expect(Math.hypot(...(vectors[1] as number[]))).toBeCloseTo(1);
  await expect(embedTexts(async () => Promise.reject(new TaskError('context_exceeded', 'x')), ['a'])).rejects.toThrow(
    'x',
  );
});
