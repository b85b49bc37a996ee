import { expect } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { UsageError } from '../../src/errors.ts';

/** The lines that say what is wrong with an environment. */
export function problemsOf(env: Record<string, string | undefined>): string[] {
  try {
    loadConfig(env);
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError);
    const lines = (error as Error).message.split('\n');
    expect(lines[0]).toBe('The configuration is wrong:');
    expect(lines.at(-1)).toContain('.env.example');
    return lines.slice(1, -1).map((line) => line.replace(/^ {2}- /, ''));
  }
  throw new Error('the configuration was taken');
}
