import { Agent, request } from 'node:http';
import { holdToReference } from '../../support/contract-setup.ts';

/** An answer as it came over the wire. */
export interface FuzzAnswer {
  status: number;
  type: string;
  requestId: string;
  text: string;
}

/** Sends requests as they are; a client such as `fetch` would mend some of them on the way. */
export function createWire(base: string) {
  const { hostname, port } = new URL(base);
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });

  return {
    send(method: string, path: string, headers: Record<string, string>, body?: string | Buffer): Promise<FuzzAnswer> {
      return new Promise((resolve, reject) => {
        const length = body === undefined || 'transfer-encoding' in headers ? {} : lengthOf(body);
        const sent = request({ agent, hostname, port, method, path, headers: { ...headers, ...length } }, (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () => {
            const { statusCode = 0, headers: said } = answer;
            const text = Buffer.concat(chunks).toString();
            const requestId = String(said['x-request-id'] ?? '');
            const type = said['content-type'] ?? '';
            holdToReference({
              ...{ method, path: path.replace(/[?#].*/, ''), status: statusCode },
              headers: new Headers(answer.headers as Record<string, string>),
              text: type.includes('json') ? text : undefined,
            });
            resolve({ status: statusCode, type, requestId, text });
          });
        });
        sent.on('error', reject);
        sent.end(body);
      });
    },
    close: () => agent.destroy(),
  };
}

function lengthOf(body: string | Buffer) {
  return { 'content-length': String(Buffer.byteLength(body)) };
}
