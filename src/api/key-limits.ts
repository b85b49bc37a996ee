import { type FieldError, ProblemError } from '../errors.ts';
import type { Principal } from './route.ts';

const DEFAULT_PRIORITY = 5;
const MAX_ERRORS = 20;

/** What an API key may not submit of this, with pointers below `pointer`. */
export function keyRefusals(
  { type, priority }: { type: string; priority?: number },
  { taskTypes, priorityCeiling }: Principal,
  pointer: string,
): FieldError[] {
  const errors: FieldError[] = [];
  if (taskTypes && !taskTypes.includes(type))
    errors.push({ pointer: `${pointer}/type`, detail: `is not open to this API key, only ${taskTypes.join(', ')}` });
  if (priorityCeiling !== undefined && priority !== undefined && priority < priorityCeiling)
    errors.push({ pointer: `${pointer}/priority`, detail: `must be from ${priorityCeiling} to 10 with this API key` });
  return errors;
}

/** The priority of what names none: the usual one, or the first that the API key may use. */
export function usualPriority({ priorityCeiling = 1 }: Principal): number {
  return Math.max(DEFAULT_PRIORITY, priorityCeiling);
}

/** The problem for what an API key may not submit; of the errors the first, where there are many. */
export function beyondKey(errors?: FieldError[]): ProblemError {
  return new ProblemError('forbidden', 'The API key may not submit this task type, or not with this priority.', {
    errors: errors?.slice(0, MAX_ERRORS),
  });
}
