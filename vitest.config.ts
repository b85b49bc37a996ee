import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['tests/support/global-setup.ts'],
    setupFiles: ['tests/support/guard.ts', 'tests/support/contract-setup.ts'],
    pool: 'forks',
    // As many as a small machine has cores: each has Postgres, Redis and more beside it, and with more of them processes run out of time.
    maxWorkers: 2,
    // A process runs many files, one after the other, and loads the product once: that is a sixth of the time of all tests.
    isolate: false,
    // A test that hangs is one that does not end; a busy machine is no error.
    testTimeout: 120_000,
    hookTimeout: 240_000,
    expect: { poll: { timeout: 30_000 } },
    execArgv: ['--disable-warning=ExperimentalWarning'],
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // Entry files of processes: what they call is covered, they themselves run in processes of their own.
      exclude: ['src/main.ts', 'src/embedded/*/main.ts'],
      reporter: ['text-summary', 'html', 'json-summary'],
      thresholds: { lines: 85 },
    },
  },
});
