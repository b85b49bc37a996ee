import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, it } from 'vitest';
import { UsageError } from '../../src/errors.ts';
import { listenError, tryToListen } from '../../src/listening.ts';

it('an address that can be listened on is tried and let go again', async () => {
  await tryToListen({ server: 'api', host: '127.0.0.1', port: 0 });
  const holder = createServer().listen(0, '127.0.0.1');
  await once(holder, 'listening');
  const { port } = holder.address() as AddressInfo;
  const where = { server: 'api', host: '127.0.0.1', port } as const;
  const refused = tryToListen(where);
  await expect(refused).rejects.toThrow(UsageError);
  await expect(refused).rejects.toThrow(`Port ${port} on 127.0.0.1 is in use`);
  await new Promise((resolve) => holder.close(resolve));
  await tryToListen(where);
  await tryToListen(where);
});

it.each([
  ['api', 'EADDRINUSE', '127.0.0.1', 'PORT=3001'],
  ['health', 'EADDRINUSE', '127.0.0.1', 'HEALTH_PORT=3001'],
  ['api', 'EADDRNOTAVAIL', '192.0.2.1', 'HOST=192.0.2.1 is not an address of this machine'],
  ['health', 'EADDRNOTAVAIL', '192.0.2.1', 'HEALTH_HOST (or HOST)=192.0.2.1 is not'],
  ['api', 'EACCES', '127.0.0.1', 'PORT=3000'],
  ['health', 'EACCES', '127.0.0.1', 'HEALTH_PORT=3001'],
  ['api', 'ENOTFOUND', '300.1.1.1', 'HOST=300.1.1.1 is neither an address nor a name'],
  ['api', 'EAI_AGAIN', 'nowhere', 'HOST=nowhere is neither an address nor a name'],
  ['api', 'EAFNOSUPPORT', '::1', 'Look at HOST and PORT'],
  ['api', 'EADDRINUSE', '::1', 'PORT=65534', 65_535],
] as const)(
  'where the %s cannot listen because of %s on %s, that says %s',
  (server, code, host, text, port: number = 3000) => {
    expect(listenError(code, { server, host, port }).message).toContain(text);
  },
);
