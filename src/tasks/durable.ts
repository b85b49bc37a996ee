/** What a parked task waits for. */
export type Awaiting = 'callback' | 'steps' | 'approval';

/** Parts of a task, and waiting without holding a slot: the task is run again from its start, and takes what was done from its memos. */
export interface DurableTools {
  /**
   * Does a part of the task once and keeps what it came to, over all attempts of it: where that is known it is answered, and
   * otherwise `work` is done and its result stored, unless the attempt was lost meanwhile. An explicit retry forgets it; what
   * `work` throws is not kept. A worker may be killed between the work and the storing, so `work` is handed the idempotency
   * key of this part, the same in every attempt, and has to hand it on to whatever it does outside.
   * @param name at most 200 characters, one for each part of the task
   */
  memo<T>(name: string, work: (key: string) => Promise<T>, options?: { kind?: string }): Promise<T>;
  /** What a memo holds, one that came by a signal included; `undefined` where there is none. */
  recall(name: string): Promise<{ value: unknown } | undefined>;
  /**
   * Ends the attempt and gives the slot back. The task is run again once somebody has signalled it, also where that was since
   * this attempt was claimed, or when so many seconds are over; without them it waits as long as its deadline lets it.
   */
  park(awaiting: Awaiting, options?: { untilSeconds?: number }): never;
  /** How many signals there had been when this attempt was claimed. */
  signals: number;
  /** An address that takes one POST for this task, from whoever has it; what is sent there is the memo `callback:<name>`. */
  callbackUrl(name: string): string;
  /**
   * What was sent to the address of that name; parks until it is there.
   * @throws TaskError `callback_timeout` where it is not there so many seconds after this was first asked for
   */
  awaitCallback(name: string, options: { withinSeconds: number }): Promise<unknown>;
}
