import type { Logger } from '../../log.ts';
import { type Breaker, createBreaker, createBreakers } from '../breaker.ts';

/** Whose call of a model it is: more than one user where it has the texts of several tasks. */
export type Callers = readonly string[];

/** Keeps calls of a host to itself while they only fail: all, those of one model, or those of one user of a model. */
export interface Guard {
  /** Of the host as such. */
  readonly breaker: Breaker;
  /** The models of it that keep failing for all. */
  failing(): string[];
  /** What keeps such a call away now; `undefined` where nothing does. */
  closedFor(model: string, by?: Callers): Breaker | undefined;
  /** Runs such a call. @throws TaskError as a {@link Breaker} does */
  run<T>(model: string, by: Callers | undefined, work: () => Promise<T>): Promise<T>;
}

interface Options {
  /** What logs and errors call the host. */
  name: string;
  /** A short, bounded question that a working host answers without a model. */
  probe: () => Promise<unknown>;
  log: Logger;
}

/**
 * Makes it. A model that is too large for a host fails for ever, and so may what one user asks of one; neither says anything of
 * the rest.
 */
export function createGuard({ name, probe, log }: Options): Guard {
  const breaker = createBreaker({ name, probe, trips: ({ outage }) => outage === 'away', log });
  const of = (model: string) => (name === 'Ollama' ? `the model ${model}` : `the model ${model} on ${name}`);
  const makeFor = (called: (model: string) => string) => (key: string) =>
    createBreaker({
      name: called(key.split('\n', 1)[0] as string),
      trips: ({ outage }) => outage === 'failing',
      log,
    });
  const ofModel = createBreakers(makeFor((model) => of(model).replace(/^t/, 'T')));
  const ofUser = createBreakers(makeFor((model) => `What one user asks of ${of(model)}`));
  const own = (model: string, by: Callers = []) => (by.length === 1 ? ofUser.of(`${model}\n${by[0]}`) : undefined);

  return {
    breaker,
    failing: () => ofModel.open(),
    closedFor: (model, by) => [breaker, ofModel.of(model), own(model, by)].find((one) => one?.state() === 'open'),
    run(model, by = [], work) {
      const [user] = by;
      const mine = own(model, by);
      const asked = mine ? () => mine.run(work) : work;
      // What fails for the texts of several is asked again for each of them.
      const whose = by.length > 1 ? null : user;
      return breaker.run(() => ofModel.of(model).run(asked, whose), by.length > 1 ? undefined : user);
    },
  };
}
