// A deployer of its own process: brings the schema up from a folder of migrations, as `sutazai migrate up` does from ours.
import { pathToFileURL } from 'node:url';
import { createDb, createPool } from '../../../src/db/connect.ts';
import { migrateUp } from '../../../src/db/migrate.ts';
import { createLog } from '../../../src/log.ts';

const [url = '', folder = ''] = process.argv.slice(2);
const log = createLog('warn');
const pool = createPool({ url, max: 3, name: 'deployer', log });
const db = createDb(pool);
await migrateUp({ db, pool, log, folder: pathToFileURL(`${folder}/`), lockRetries: 20 });
await db.destroy();
