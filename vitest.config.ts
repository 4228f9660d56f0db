import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // drivers/ import the package by its name; tests run them on the sources.
  resolve: {
    alias: [{ find: /^shootdown$/, replacement: fileURLToPath(new URL('src/system/index.ts', import.meta.url)) }],
  },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
