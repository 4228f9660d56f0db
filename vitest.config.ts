import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  // drivers/ and bugs/ import the package by its name; tests run them on the sources.
  resolve: {
    alias: [
      { find: /^shootdown$/, replacement: source('src/index.ts') },
      { find: /^shootdown\/check$/, replacement: source('src/check/index.ts') },
    ],
  },
  test: {
    include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});
