import type { IncomingMessage, Server } from 'node:http';

/** How long a request may take to come, with its body. */
const REQUEST_MS = 60_000;
const TOO_LATE = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

const bounds = new WeakMap<IncomingMessage, NodeJS.Timeout>();

/** Cuts a request off that has not come whole within a time, unless {@link takeTime} was called for it. */
export function boundRequests(server: Server, ms = REQUEST_MS): void {
  // Before the request is looked at.
  server.prependListener('request', (request: IncomingMessage) => {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers;
    if (encoding === undefined && !(Number(length) > 0)) return;
    const { socket } = request;
    const bound = setTimeout(() => {
      if (request.complete) return;
      // Of an answer that has begun it would become a part.
      if (socket.bytesWritten === written) socket.write(TOO_LATE);
      socket.destroySoon();
    }, ms);
    const written = socket.bytesWritten;
    bounds.set(request, bound);
    request.once('end', () => clearTimeout(bound)).once('close', () => clearTimeout(bound));
  });
}

/** The request may take as long as it goes on coming: of a connection on which nothing moves, the server takes care. */
export function takeTime(request: IncomingMessage | undefined): void {
  if (request) clearTimeout(bounds.get(request));
}
