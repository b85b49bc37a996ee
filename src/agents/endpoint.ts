import * as v from 'valibot';
import { maxCharacters } from '../tasks/schemas.ts';

/** The address of an agent: paths of its configuration are put behind it. */
export const endpoint = v.pipe(
  v.string(),
  maxCharacters(2048),
  v.check((given) => URL.canParse(given) && !/[?#]/.test(given), 'must be a URL, without a query and a fragment'),
);

/** The address with its port, without a slash at the end. */
export function baseOf(given: string, port: number | null): string {
  const url = new URL(given);
  if (port !== null) url.port = String(port);
  return url.href.replace(/\/+$/, '');
}

/** Whether the URL says a port that is not this one. */
export function disagrees(given: string, port: number | null): boolean {
  const said = new URL(given).port;
  return port !== null && said !== '' && Number(said) !== port;
}
