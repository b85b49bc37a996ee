import * as v from 'valibot';
import { expect, it } from 'vitest';
import { AGENT_CONFIGS } from '../../src/agents/types.ts';
import { createOutbound } from '../../src/clients/outbound.ts';
import { textListener } from '../../src/workers/tools/agents/pieces.ts';
import { requestOf } from '../../src/workers/tools/agents/template.ts';
import { startScriptedHttp } from '../support/scripted-http.ts';

it.each([
  ['/of/${{ input.name }}', '/of/a%2Fb'],
  ['/of/${{ "a}}b" }}/x', '/of/a%7D%7Db/x'],
  ['/of/${{ {"a": {"b": "c"}}.a.b }}?q=${{ input.name }}', '/of/c?q=a%2Fb'],
  ['/of/$${{y}}', '/of/$%7B%7By%7D%7D'],
])('the path %s of a request comes to %s', (path, comes) => {
  const config = v.parse(AGENT_CONFIGS.http, { request: { method: 'GET', path } });
  const agent = { ...{ id: 'x', name: 'a', type: 'http' as const, base: 'http://host' }, config, secrets: {} };
  expect(requestOf(agent, { input: { name: 'a/b' }, secrets: {} }).url).toBe(`http://host${comes}`);
});

it('a text that ends within a character is heard to its end, unless it is cut', async () => {
  const site = await startScriptedHttp();
  site.script((response) => response.writeHead(200).end(Buffer.from('Zoë').subarray(0, 3)));
  const outbound = createOutbound(['127.0.0.1']);
  const heard = async (maxBytes: number) => {
    let text = '';
    await outbound.request(site.url, {
      ...{ method: 'GET', headers: {}, signal: new AbortController().signal, maxBytes: () => maxBytes },
      listener: () =>
        textListener(maxBytes, (piece) => {
          text += piece;
        }),
    });
    return text;
  };
  try {
    expect(await heard(100)).toBe('Zo\ufffd');
    expect(await heard(2)).toBe('');
  } finally {
    await outbound.close();
    await site.close();
  }
});
