/** What a test file opened and has to close: each world adds itself here; `guard.ts` looks at it after the file. */
export const open = new Set<string>();
