import { connect, type Socket } from 'node:net';

/** Sends requests over connections that stay, one at a time on each, and costs little itself. */
export interface Load {
  /** Milliseconds from a request to the whole of its answer, in the order of the answers. */
  times: number[];
  /** Answers by status. */
  statuses: Map<number, number>;
  /** A body that was answered with an unexpected status. */
  wrong: string | undefined;
  /** From the first request to the last answer. */
  seconds: number;
}

interface Options {
  url: string;
  connections: number;
  /** The next request as it goes over the wire; `undefined` when there are no more. */
  next: () => Buffer | undefined;
  /** Whether one may be sent now; asked again after `onChange` was heard. */
  may?: () => boolean;
  onChange?: (listener: () => void) => void;
  /** The status that is hoped for. */
  good?: number;
  onAnswer?: (body: string) => void;
}

const END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** A request as bytes. */
export function requestOf(method: string, path: string, headers: Record<string, string>, body = ''): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const length = body === '' ? '' : `content-length: ${Buffer.byteLength(body)}\r\n`;
  return Buffer.from(`${method} ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n${lines.join('')}${length}\r\n${body}`);
}

/** Sends all there is to send, and waits for the answers. */
export async function sendLoad(options: Options): Promise<Load> {
  const { hostname, port } = new URL(options.url);
  const load: Load = { times: [], statuses: new Map(), wrong: undefined, seconds: 0 };
  const idle = new Set<() => void>();
  options.onChange?.(() => {
    for (const go of [...idle]) go();
  });
  const sockets = await Promise.all(Array.from({ length: options.connections }, () => open(hostname, Number(port))));
  const began = performance.now();
  await Promise.all(sockets.map((socket) => talk(socket, options, load, idle)));
  load.seconds = (performance.now() - began) / 1000;
  for (const socket of sockets) socket.destroy();
  return load;
}

function open(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

function talk(
  socket: Socket,
  { next, may = () => true, good = 202, onAnswer }: Options,
  load: Load,
  idle: Set<() => void>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let sentAt = 0;
    let rest: Buffer | undefined;
    const send = () => {
      if (!may()) return void idle.add(send);
      idle.delete(send);
      const request = next();
      if (!request) return resolve();
      sentAt = performance.now();
      socket.write(request);
    };
    socket.on('data', (chunk) => {
      const answer = rest ? Buffer.concat([rest, chunk]) : chunk;
      const end = wholeAnswer(answer);
      rest = end === undefined ? answer : undefined;
      if (end === undefined) return;
      load.times.push(performance.now() - sentAt);
      const status = Number(answer.toString('latin1', 9, 12));
      load.statuses.set(status, (load.statuses.get(status) ?? 0) + 1);
      if (status !== good) load.wrong ??= answer.toString();
      onAnswer?.(answer.toString('utf8', end.body));
      send();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the server closed a connection')));
    send();
  });
}

/** Where the body of an answer begins; `undefined` where the answer is not whole. */
function wholeAnswer(answer: Buffer): { body: number } | undefined {
  const head = answer.indexOf(END);
  if (head === -1) return undefined;
  const body = head + END.length;
  const length = /\r\ncontent-length: (\d+)/i.exec(answer.toString('latin1', 0, head))?.[1];
  const whole =
    length === undefined
      ? answer.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)
      : answer.length >= body + Number(length);
  return whole ? { body } : undefined;
}
