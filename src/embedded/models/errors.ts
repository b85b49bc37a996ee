/** An error whose message may be shown to the client, with the HTTP status it is answered with. */
export type HttpError = Error & { status: number };

/** @param message the text of Ollama's `{"error": text}` */
export function httpError(status: number, message: string): HttpError {
  return Object.assign(new Error(message), { status });
}

/** The status to answer an error with: its own, or 500. */
export function statusOf(error: unknown): number {
  return error instanceof Error && 'status' in error && typeof error.status === 'number' ? error.status : 500;
}

/** The text of an error, whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Ollama's answer to a name that no model has; `name` as the client wrote it. */
export function notFound(name: string): HttpError {
  return httpError(404, `model '${name}' not found`);
}

/** Ollama's answer to a request that needs what the model cannot do; `name` as the client wrote it. */
export function unsupported(name: string, capability: string): HttpError {
  return httpError(400, `"${name}" does not support ${capability}`);
}
