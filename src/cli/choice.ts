import { type Command, Option } from 'commander';
import type { Status, TaskFilter } from '../client/index.ts';

/** What the options of {@link withChoice} say. */
export interface Choice {
  status?: string[];
  type?: string;
  tag?: string;
  batch?: string;
  schedule?: string;
  model?: string;
  errorCode?: string;
  search?: string;
}

export const STATUSES = 'scheduled, pending, running, cancelling, completed, failed, cancelled, expired';

/** Adds the options that choose tasks, for a list and for many at once. */
export function withChoice(command: Command): Command {
  return command
    .addOption(new Option('--status <status...>', STATUSES))
    .option('--type <type>', 'of this type')
    .option('--tag <tag>', 'with this tag')
    .option('--batch <id>', 'of this batch')
    .option('--schedule <id>', 'made by this schedule')
    .option('--model <model>', 'that a model of this name ran')
    .option('--error-code <code>', 'with an error of this code, such as timeout; `poison` is what lost three workers')
    .option('--search <words>', 'with these words in title or tags');
}

/** The filter that was chosen; empty where nothing was. */
export function filterOf({ status, type, tag, batch, schedule, model, errorCode, search }: Choice): TaskFilter {
  const given: TaskFilter = {
    ...{ status: status as Status[] | undefined, type, tag, model, q: search },
    ...{ batch_id: batch, schedule_id: schedule, error_code: errorCode },
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}
