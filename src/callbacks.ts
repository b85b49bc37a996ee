import { timingSafeEqual } from 'node:crypto';
import type { SecretBox } from './secretbox.ts';

/** What an address to call back at stands for: a name in one life of a task. */
export interface Callback {
  taskId: string;
  life: number;
  name: string;
}

/** Makes the addresses at which somebody outside may send something to a task, and reads them. */
export interface Callbacks {
  /** The address; `undefined` where this process does not know how the API is reached from outside. */
  urlOf(callback: Callback): string | undefined;
  tokenOf(callback: Callback): string;
  /** What a token stands for; `undefined` where it was not made here. */
  read(token: string): Callback | undefined;
}

export const CALLBACK_PATH = '/api/v1/callbacks/';

const ID_BYTES = 16;
const LIFE_BYTES = 4;
const MAC_BYTES = 24;
const MAX_TOKEN = 1_000;

/**
 * A token is what it stands for and a keyed hash of it (HMAC-SHA256, cut to 24 bytes), each in base64url, with a dot between.
 * Layout of the first: 16 bytes of the task's id, 4 of its life, then the name.
 * @param base where clients reach the API, without a slash at the end; asked each time, because a server learns it when it listens
 */
export function createCallbacks(box: Pick<SecretBox, 'digest' | 'digests'>, base: () => string | undefined): Callbacks {
  const named = (payload: string) => `callback ${payload}`;
  const cut = (digest: Buffer) => digest.subarray(0, MAC_BYTES);

  function tokenOf({ taskId, life, name }: Callback): string {
    const head = Buffer.alloc(ID_BYTES + LIFE_BYTES);
    head.write(taskId.replaceAll('-', ''), 'hex');
    head.writeUInt32BE(life, ID_BYTES);
    const payload = Buffer.concat([head, Buffer.from(name)]).toString('base64url');
    return `${payload}.${cut(box.digest(named(payload))).toString('base64url')}`;
  }

  return {
    tokenOf,
    urlOf(callback) {
      const at = base();
      return at === undefined ? undefined : `${at}${CALLBACK_PATH}${tokenOf(callback)}`;
    },
    read(token) {
      if (token.length > MAX_TOKEN) return undefined;
      const [payload = '', given = '', more] = token.split('.');
      const mac = Buffer.from(given, 'base64url');
      if (more !== undefined || mac.length !== MAC_BYTES) return undefined;
      if (!box.digests(named(payload)).some((ours) => timingSafeEqual(mac, cut(ours)))) return undefined;
      const bytes = Buffer.from(payload, 'base64url');
      const hex = bytes.toString('hex', 0, ID_BYTES);
      return {
        taskId: hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
        life: bytes.readUInt32BE(ID_BYTES),
        name: bytes.toString('utf8', ID_BYTES + LIFE_BYTES),
      };
    },
  };
}
