/** `tinyllama` and `tinyllama:latest` are the same model. */
export function canonicalName(name: string): string {
  return /:[^/]*$/.test(name) ? name : `${name}:latest`;
}
