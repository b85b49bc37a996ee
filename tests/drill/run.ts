// `npm run drill`: how long it takes to bring back a system whose Postgres and Redis are lost.
import { tmpdir } from 'node:os';
import { Command, InvalidArgumentError } from 'commander';
import { drill } from './drill.ts';

const ALLOWED_MINUTES = 15;
const began = performance.now();
const minutes = (ms: number) => `${(ms / 60_000).toFixed(2)} min`;

await new Command('npm run drill --')
  .description('lose a system on stores of its own, and bring it back from a backup')
  .option('--ended <n>', 'tasks that ended before', wholeNumber, 200_000)
  .option('--waiting <n>', 'tasks that wait', wholeNumber, 20_000)
  .action(async (extent: { ended: number; waiting: number }) => {
    const said = (text: string) =>
      console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}`);
    const { backupMs, restoreMs, allRunMs, lost } = await drill({ ...extent, parent: tmpdir() }, said);
    console.log(
      `backup ${minutes(backupMs)}, restore ${minutes(restoreMs)}, all that waited has run after ${minutes(allRunMs)}`,
    );
    const wrong = [...lost, ...(allRunMs > ALLOWED_MINUTES * 60_000 ? [`${ALLOWED_MINUTES} minutes are allowed`] : [])];
    for (const one of wrong) console.error(one);
    console.log(wrong.length > 0 ? 'The drill failed.' : 'Nothing is lost.');
    process.exitCode = wrong.length > 0 ? 1 : 0;
  })
  .parseAsync();

function wholeNumber(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new InvalidArgumentError('It wants a whole number from 1.');
  return Number(text);
}
