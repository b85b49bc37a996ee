import { type Language, parseTemplate } from '../expressions/index.ts';

/**
 * Headers with their expressions worked out, by names in lower case.
 * @param onError hears of one that gives no value; it is left out, unless this throws
 */
export function filledHeaders(
  headers: Record<string, string> = {},
  language: Language,
  context: Record<string, unknown>,
  onError: (error: unknown, name: string) => void,
): Record<string, string> {
  const filled = Object.entries(headers).flatMap(([name, value]): Array<[string, string]> => {
    try {
      const given = parseTemplate(language, value).fill(context);
      return [[name.toLowerCase(), typeof given === 'string' ? given : JSON.stringify(given)]];
    } catch (error) {
      onError(error, name);
      return [];
    }
  });
  return Object.fromEntries(filled);
}
