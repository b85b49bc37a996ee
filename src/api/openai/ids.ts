import { isId } from '../../db/ids.ts';
import { ProblemError } from '../../errors.ts';

/** What stands before a UUID in the ids of OpenAI's API, and what each of them names. */
const PREFIXES = { file: ['file-', 'file'], batch: ['batch_', 'batch'], response: ['resp_', 'response'] } as const;

type Kind = keyof typeof PREFIXES;

/** An id as OpenAI's clients see it. */
export function openAiId(kind: Kind, id: string): string {
  return PREFIXES[kind][0] + id;
}

/** The UUID in an id of OpenAI's API; `undefined` where it is none of that kind. */
export function findId(kind: Kind, given: string): string | undefined {
  const [prefix] = PREFIXES[kind];
  const id = given.slice(prefix.length);
  return given.startsWith(prefix) && isId(id) ? id : undefined;
}

/** The error for what does not exist, and for what belongs to somebody else: the two must look the same. */
export function noSuch(kind: Kind): ProblemError {
  return new ProblemError('not_found', `There is no such ${PREFIXES[kind][1]}.`);
}

/** The UUID in an id of a path. @throws ProblemError `not_found` */
export function readId(kind: Kind, given = ''): string {
  const id = findId(kind, given);
  if (id === undefined) throw noSuch(kind);
  return id;
}

/** A time as OpenAI writes it: whole seconds since 1970. */
export function seconds(time: Date): number {
  return Math.floor(time.getTime() / 1000);
}
