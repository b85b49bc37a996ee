/** `tinyllama` and `tinyllama:latest` are the same model. */
export function canonicalName(name: string): string {
  // A host may have a port before its last slash.
  return name.lastIndexOf(':') > name.lastIndexOf('/') ? name : `${name}:latest`;
}
