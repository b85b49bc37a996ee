// `npm run drill`: how long it takes to bring back a system whose Postgres and Redis are lost.
import { parseArgs } from 'node:util';
import { drill } from './drill.ts';

const { values } = parseArgs({
  options: { ended: { type: 'string', default: '200000' }, waiting: { type: 'string', default: '20000' } },
});
const began = Date.now();
const result = await drill({ ended: Number(values.ended), waiting: Number(values.waiting) }, (text) =>
  console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`),
);
const minutes = (ms: number) => `${(ms / 60_000).toFixed(2)} min`;
console.log(
  `backup ${minutes(result.backupMs)}, restore ${minutes(result.restoreMs)}, everything that waited has run after ${minutes(result.allRunMs)}`,
);
