/** Signs that some servers read as a step to another folder after the path was compared. */
const DISGUISED = /%(?:2e|2f|5c|00)|;|\\/i;

/**
 * Whether an address is below one of those that an agent may read: the same scheme, host and port, and its path or a part of it
 * in whole folders. A query may be what it likes.
 */
export function isWithin(url: string, allowed: readonly string[]): boolean {
  const asked = parsed(url);
  if (!asked) return false;
  return allowed.some((prefix) => {
    const base = parsed(prefix);
    if (!base || base.origin !== asked.origin) return false;
    const folder = base.pathname.endsWith('/') ? base.pathname : `${base.pathname}/`;
    return asked.pathname === base.pathname || asked.pathname.startsWith(folder);
  });
}

function parsed(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const plain = (url.protocol === 'https:' || url.protocol === 'http:') && url.username === '' && url.password === '';
  return plain && !DISGUISED.test(url.pathname) ? url : undefined;
}
