#!/usr/bin/env node
if (Number(process.versions.node.split('.')[0]) < 24) {
  console.error(
    `SutazAI runs on Node 24 or newer, and this is ${process.version}. In a clone, \`npm run sutazai -- --help\` brings its own.`,
  );
  process.exit(1);
}
await import('../src/main.ts');
