import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Sutazai } from '../../src/client/index.ts';
import { createShell, jsonLines, type Shell } from '../support/cli.ts';
import { type Client, createWorld, type World } from '../support/world.ts';

let world: World;
let user: Client;
let shell: Shell;
beforeAll(async () => {
  world = await createWorld();
  user = await world.client();
  shell = createShell({ SUTAZAI_URL: world.url, SUTAZAI_TOKEN: user.token ?? '' });
});
afterAll(async () => {
  await shell.remove();
  await world.close();
});

it('a collection is made, filled, searched and deleted by the client', async () => {
  const sutazai = new Sutazai({ baseUrl: world.url, token: user.token ?? '' });
  const made = await sutazai.collections.create({ name: 'by-client', distance: 'Dot' });
  expect(made).toMatchObject({ name: 'by-client', distance: 'Dot', dimensions: 8, points: 0 });
  const points = [
    { id: 'tea', text: 'the kettle', payload: { room: 'kitchen' } },
    { id: 'bed', text: 'a blanket' },
  ];
  await sutazai.run('vector.upsert', { collection: 'by-client', points });
  const filter = { must: [{ key: 'room', match: { value: 'kitchen' } }] };
  const hits = await sutazai.collections.search('by-client', { query: 'a blanket', filter });
  expect(hits).toMatchObject([{ id: 'tea', text: 'the kettle', payload: { room: 'kitchen' } }]);
  expect(await sutazai.run('vector.delete', { collection: 'by-client', ids: ['bed'] })).toMatchObject({
    output: { deleted: 1 },
  });
  expect(await sutazai.collections.get('by-client')).toMatchObject({ points: 1 });
  expect((await sutazai.collections.list().page()).data).toMatchObject([{ name: 'by-client' }]);
  await sutazai.collections.delete('by-client');
  await expect(sutazai.collections.get('by-client')).rejects.toMatchObject({ status: 404, code: 'not_found' });
});

it('and by the commands', async () => {
  const made = await shell.run(['collections', 'create', 'notes']);
  expect([made.code, made.stdout, made.stderr]).toEqual([0, 'notes\n', expect.stringContaining('vector.upsert')]);
  const points = [
    { id: 'tea', text: 'the kettle', payload: { room: 'kitchen' } },
    { id: 'bed', text: 'a blanket' },
  ];
  await user.runTask('vector.upsert', { collection: 'notes', points });
  const room = '{"must": [{"key": "room", "match": {"value": "kitchen"}}]}';
  const [found, merged, byWords, filtered, wrong, own, list] = await Promise.all([
    shell.run(['collections', 'search', 'notes', 'the', 'kettle', '--limit', '1']),
    shell.run(['collections', 'search', 'notes', 'the', 'kettle', '--mode', 'hybrid', '--json']),
    shell.run(['collections', 'search', 'notes', 'the', 'kettle', '--mode', 'text']),
    shell.run(['collections', 'search', 'notes', 'a blanket', '--filter', room, '--json']),
    shell.run(['collections', 'search', 'notes', 'x', '--filter', '{"all": 1}']),
    shell.run(['collections', 'create', 'raw', '--own-vectors', '--dimensions', '3', '--distance', 'Euclid', '--json']),
    shell.run(['collections', 'show', 'notes']),
  ]);
  expect(found.stdout).toMatch(/^1\.000 +tea +the kettle$/m);
  expect(jsonLines(merged.stdout)[0]).toMatchObject({ id: 'tea', ranks: { vector: 1, text: null } });
  // Points have a text, but no words: documents do.
  expect([byWords.code, byWords.stdout, byWords.stderr]).toEqual([0, '', expect.stringContaining('Nothing is found')]);
  expect(jsonLines(filtered.stdout)).toMatchObject([{ id: 'tea', payload: { room: 'kitchen' } }]);
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('--filter')]);
  expect(jsonLines(own.stdout)).toMatchObject([{ embedding_model: null, dimensions: 3, distance: 'Euclid' }]);
  expect(list.stdout).toMatch(/^notes +all-minilm:latest +8 +Cosine +2$/m);
  expect((await shell.run(['collections', 'delete', 'notes'])).stdout).toBe('notes is deleted\n');
  expect(jsonLines((await shell.run(['collections', 'list', '--json'])).stdout)).toMatchObject([{ name: 'raw' }]);
});

it('documents are ingested, listed, shown and deleted by the commands', async () => {
  await user.request('POST', '/api/v1/collections', { name: 'manuals' });
  writeFileSync(join(shell.home, 'kettle.md'), '# The kettle\n\nFill it with water.\n');
  const into = ['--collection', 'manuals'];
  const [file, stdin, none, away, wrong] = await Promise.all([
    shell.run(['ingest', 'kettle.md', ...into, '--metadata', '{"room": "kitchen"}']),
    shell.run(['ingest', '-', ...into, '--title', 'Notes', '--json'], { stdin: 'A blanket is warm.' }),
    shell.run(['ingest', 'kettle.md', '--collection', 'none']),
    shell.run(['ingest', 'missing.md', ...into]),
    shell.run(['ingest', 'kettle.md', ...into, '--chunk-tokens', '5']),
  ]);
  const id = file.stdout.trim();
  expect([file.code, file.stderr]).toEqual([0, 'It is stored: 1 chunk in manuals.\n']);
  const [task] = jsonLines(stdin.stdout);
  expect(task).toMatchObject({ status: 'completed', output: { title: 'Notes', content_type: 'text/plain' } });
  expect([none.code, none.stderr]).toEqual([1, expect.stringContaining('`sutazai collections create none`')]);
  expect([away.code, away.stderr]).toEqual([1, expect.stringContaining('missing.md cannot be read (ENOENT)')]);
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('--chunk-tokens must be')]);

  const [list, show, again] = await Promise.all([
    shell.run(['documents', 'list', 'manuals', '--json']),
    shell.run(['documents', 'show', 'manuals', id]),
    shell.run(['ingest', 'kettle.md', ...into]),
  ]);
  const sources = jsonLines(list.stdout).map(({ title, source, metadata }) => [title, source, metadata]);
  expect(sources.sort()).toEqual([
    ['Notes', null, {}],
    ['The kettle', 'kettle.md', { room: 'kitchen' }],
  ]);
  expect(show.stdout).toMatch(new RegExp(`^${id} +The kettle +kettle.md +ready +1 `, 'm'));
  expect([again.stdout, again.stderr]).toEqual([`${id}\n`, 'It is unchanged: 1 chunk in manuals.\n']);
  const gone = await shell.run(['documents', 'delete', 'manuals', id, id]);
  expect([gone.code, gone.stdout]).toEqual([1, `${id} is deleted\n`]);
});
