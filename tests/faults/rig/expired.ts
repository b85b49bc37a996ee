import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';

/**
 * A certificate for 127.0.0.1 that was good in January 2020, its own authority, and its key, which protects nothing.
 * Made with `openssl ca -selfsign -startdate 20200101000000Z -enddate 20200201000000Z`.
 */
export const EXPIRED = {
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYhG3Ax9nhTjCyDMt
A1avLPAm9yqtXa5TuKwC3aFxmDyhRANCAARAZE7tO/z4xGp5gPqIT3ECGUeLYjaZ
1xSPYk5PAtP6o2uyaaaRvvyGXutTm6u0pE5tEhDvreiqV1D6NpyoIYF9
-----END PRIVATE KEY-----
`,
  cert: `-----BEGIN CERTIFICATE-----
MIIBZzCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAcMRowGAYDVQQDDBFleHBpcmVk
IGZvciB0ZXN0czAeFw0yMDAxMDEwMDAwMDBaFw0yMDAyMDEwMDAwMDBaMBwxGjAY
BgNVBAMMEWV4cGlyZWQgZm9yIHRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAEQGRO7Tv8+MRqeYD6iE9xAhlHi2I2mdcUj2JOTwLT+qNrsmmmkb78hl7rU5ur
tKRObRIQ763oqldQ+jacqCGBfaNAMD4wDwYDVR0RBAgwBocEfwAAATAMBgNVHRME
BTADAQH/MB0GA1UdDgQWBBSsH7Px2Kj7AsFYhI4wKec+p7hZ4zAKBggqhkjOPQQD
AgNIADBFAiEA+BFQcsKL8UzZzsNv4XKRUryqRzTsqjWDSv2YTKJws00CIFDv4SnC
R5BYd2xm2keOpZ/cuPjfp/K/KsRwzzcofO4K
-----END CERTIFICATE-----
`,
};

/** Starts an HTTPS server with that certificate, which counts the requests that get through. */
export async function startExpired(): Promise<{ url: string; requests: () => number; close(): Promise<void> }> {
  let requests = 0;
  const server: Server = createServer(EXPIRED, (_, response) => {
    requests++;
    response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests: () => requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
