#!/usr/bin/env node
if (Number(process.versions.node.split('.')[0]) < 24) {
  console.error(
    `SutazAI runs on Node 24 or newer, and this is ${process.version}. In a clone, \`npm run sutazai -- --help\` brings its own.`,
  );
  process.exit(1);
}
if (import.meta.url.includes('/node_modules/')) {
  const { emitWarning } = process;
  // That taking types out is an experiment of Node is nothing that its users can do something about.
  process.emitWarning = (warning, ...more) => {
    if (!String(warning).includes('stripTypeScriptTypes')) emitWarning.call(process, warning, ...more);
  };
  process.execArgv.push(`--import=${new URL('./take-types-out.mjs', import.meta.url).href}`);
  await import('./take-types-out.mjs');
}
await import('../src/main.ts');
