import { TaskError } from '../../../errors.ts';

/** A secret that is shorter stands in any text. */
const MIN_SECRET_CHARACTERS = 6;

/** The text without any secret that the call took along, which some hosts echo: as it is, in JSON, and in addresses. */
export function withoutSecrets(text: string, secrets: string[]): string {
  return starred(text, placesOf(text, spellingsOf(secrets)), text.length);
}

/** From where to where something is hidden. */
type Place = [from: number, to: number];

/** Where secrets stand, from first to last. One may begin another, or run into it or into itself: these are one place, so that no part of any is left. */
function placesOf(text: string, spellings: string[], before: Place[] = []): Place[] {
  const found = [...before];
  for (const one of spellings)
    for (let at = text.indexOf(one); at >= 0; at = text.indexOf(one, at + 1)) found.push([at, at + one.length]);
  const places: Place[] = [];
  for (const [from, to] of found.sort(([a], [b]) => a - b)) {
    const last = places.at(-1);
    if (last && from < last[1]) last[1] = Math.max(last[1], to);
    else places.push([from, to]);
  }
  return places;
}

/** What stands before `end`, with stars for the places that begin there. */
function starred(text: string, places: Place[], end: number): string {
  let clean = '';
  let done = 0;
  for (const [from, to] of places) {
    if (from >= end) break;
    clean += `${text.slice(done, from)}***`;
    done = to;
  }
  return clean + text.slice(done, end);
}

/** The ways in which the secrets may be written. */
function spellingsOf(secrets: string[]): string[] {
  const all = secrets
    .filter((secret) => secret.length >= MIN_SECRET_CHARACTERS)
    .flatMap((secret) => {
      const encoded = [encodeURIComponent(secret), formOf(secret)];
      const lower = encoded.map((text) => text.replaceAll(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()));
      return [secret, JSON.stringify(secret).slice(1, -1), ...encoded, ...lower];
    });
  return [...new Set(all)];
}

/**
 * The same for a text that comes in pieces, of which a secret may be in two: what may be the beginning of one is kept back until it is
 * known what comes after it.
 */
export function createHiding(
  secrets: string[],
  emit: (text: string) => void,
): { add(piece: string): void; end(): void } {
  const spellings = spellingsOf(secrets);
  const longest = Math.max(0, ...spellings.map(({ length }) => length));
  let kept = '';
  /** So much of the beginning of that is in a place whose stars were told. */
  let told = 0;

  function tellTo(end: number): void {
    const places = placesOf(kept, spellings, told > 0 ? [[0, told]] : []);
    const text = starred(kept, places, end).slice(told > 0 ? '***'.length : 0);
    const last = places.findLast(([from]) => from < end) ?? (told > 0 ? places[0] : undefined);
    told = Math.max(0, (last?.[1] ?? 0) - end);
    kept = kept.slice(end);
    if (text !== '') emit(text);
  }

  return {
    add(piece) {
      kept += piece;
      let end = Math.max(0, kept.length - longest + 1);
      const begins = (one: string) => one.length > kept.length - end && one.startsWith(kept.slice(end));
      while (end < kept.length && !spellings.some(begins)) end++;
      tellTo(end);
    },
    end: () => tellTo(kept.length),
  };
}

/** As a query says it. */
function formOf(secret: string): string {
  return new URLSearchParams([['', secret]]).toString().slice(1);
}

/** Takes the secrets out of all texts of a value. */
export function hideWithin<T>(value: T, secrets: string[]): T;
export function hideWithin(value: unknown, secrets: string[]): unknown {
  if (typeof value === 'string') return withoutSecrets(value, secrets);
  if (Array.isArray(value)) return value.map((one) => hideWithin(one, secrets));
  if (value === null || typeof value !== 'object') return value;
  // What is no JSON is refused by whoever keeps it.
  if (![Object.prototype, null].includes(Object.getPrototypeOf(value))) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, one]) => [withoutSecrets(key, secrets), hideWithin(one, secrets)]),
  );
}

/** Takes the secrets out of what an error says; it stays the same one, so that who has told of it already is not forgotten. */
export function hideIn(error: unknown, secrets: string[]): void {
  if (!(error instanceof TaskError)) return;
  error.message = withoutSecrets(error.message, secrets);
  if (error.stack !== undefined) error.stack = withoutSecrets(error.stack, secrets);
}
