export const CHECKS: ReadonlyArray<{ name: string; path: string }>;
export function ask(url: string, apiKey: string): Promise<Map<string, string>>;
