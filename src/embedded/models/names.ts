/**
 * The full name of a model: without Ollama's default registry and namespace, and with a tag (`latest` when none is given).
 * Names compare without regard to case, as Ollama's do; the case given is kept.
 */
export function fullName(name: string): string {
  const short = name
    .trim()
    .replace(/^https?:\/\//, '')
    .replace(/^registry\.ollama\.ai\//, '')
    .replace(/^library\//, '')
    .replace(/^huggingface\.co\//, 'hf.co/');
  return short.lastIndexOf(':') > short.lastIndexOf('/') ? short : `${short}:latest`;
}

export function sameName(a: string, b: string): boolean {
  return fullName(a).toLowerCase() === fullName(b).toLowerCase();
}

/** The file a model of that name is kept in: `name__tag.gguf`, without the tag `latest`, slashes percent-encoded. */
export function fileOfName(name: string): string {
  const full = fullName(name);
  const colon = full.lastIndexOf(':');
  const tag = full.slice(colon + 1);
  return `${encodeURIComponent(full.slice(0, colon))}${tag === 'latest' ? '' : `__${encodeURIComponent(tag)}`}.gguf`;
}

/** The reverse of {@link fileOfName}; undefined for a file that is no model of its own (another type, or one of several parts). */
export function nameOfFile(file: string): string | undefined {
  const stem = /^(?!\.)(.+)\.gguf$/i.exec(file)?.[1];
  if (!stem || /-\d{5}-of-\d{5}$/.test(stem)) return undefined;
  const [, name = stem, tag = 'latest'] = /^(.+)__(.+)$/.exec(stem) ?? [];
  return `${decode(name)}:${decode(tag)}`;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A user's own file may well have a percent sign in its name.
    return text;
  }
}
