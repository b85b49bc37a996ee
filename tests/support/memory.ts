import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';

/** Where the data of a test has room. In memory a database is cloned in a fiftieth of the time. */
export async function memoryOrDisk(bytes: number): Promise<string> {
  const memory = '/dev/shm';
  const found = await statfs(memory).catch(() => undefined);
  return found && found.bavail * found.bsize >= bytes ? memory : tmpdir();
}
