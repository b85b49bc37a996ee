/** The closed list of failures a client can cause or meet, each with its HTTP status and the words it starts with. */
const KINDS = {
  badInput: { status: 400, prefix: 'Wrong input: ' },
  format: { status: 400, prefix: 'Format error in JSON body: ' },
  parameters: { status: 400, prefix: 'Deserialize error in query parameters: ' },
  unauthorized: { status: 401, prefix: '' },
  notFound: { status: 404, prefix: 'Not found: ' },
  exists: { status: 409, prefix: 'Wrong input: ' },
  tooLarge: { status: 413, prefix: '' },
  validation: { status: 422, prefix: 'Validation error in JSON body: ' },
  closing: { status: 503, prefix: '' },
} as const;

export type ErrorKind = keyof typeof KINDS;
export type StoreError = Error & { readonly kind: ErrorKind };

/** Makes an error whose message may be shown to the client. */
export function storeError(kind: ErrorKind, description: string): StoreError {
  return Object.assign(new Error(KINDS[kind].prefix + description), { kind });
}

/** Whether an error was made by `storeError`; anything else is a fault of ours and its text stays in the log. */
export function isStoreError(error: unknown): error is StoreError {
  return error instanceof Error && 'kind' in error && typeof error.kind === 'string' && error.kind in KINDS;
}

/** The HTTP status of a failure. */
export function statusOf(error: StoreError): (typeof KINDS)[ErrorKind]['status'] {
  return KINDS[error.kind].status;
}
