import type * as v from 'valibot';
import type { FieldError } from '../errors.ts';

const MAX_ERRORS = 20;

/** Issues of valibot as JSON pointers below `base`. */
export function fieldErrors(issues: readonly v.BaseIssue<unknown>[], base = '#'): FieldError[] {
  return issues.slice(0, MAX_ERRORS).map((issue) => {
    const steps = (issue.path ?? []).map(({ key }) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`);
    return { detail: detailOf(issue), pointer: base + steps.join('') };
  });
}

function detailOf(issue: v.BaseIssue<unknown>): string {
  if (issue.kind !== 'schema') return issue.message.startsWith('Invalid') ? wanted(issue) : issue.message;
  if (issue.expected === 'never') return 'is not known here';
  if (issue.expected === 'Object' && issue.received !== 'undefined') return 'must be an object';
  // valibot reports a missing entry as one that is expected by its name.
  if (issue.received === 'undefined') return 'is missing';
  return issue.message.startsWith('Invalid')
    ? `must be ${issue.expected ?? 'something else'}, not ${issue.received}`
    : issue.message;
}

/** What a rule wants that has no words of its own. */
function wanted({ type, requirement, message }: v.BaseIssue<unknown> & { requirement?: unknown }): string {
  if (type === 'integer' || type === 'safe_integer') return 'must be a whole number';
  if (type === 'min_value') return `must be at least ${requirement}`;
  if (type === 'max_value') return `must be at most ${requirement}`;
  return message;
}
