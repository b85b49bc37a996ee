import { type FieldError, ProblemError } from '../errors.ts';
import type { Principal } from './route.ts';

const DEFAULT_PRIORITY = 5;
const MAX_ERRORS = 20;

/** What an API key, or the role of its owner, may not submit of this, with pointers below `pointer`. */
export function keyRefusals(
  { type, priority, input }: { type: string; priority?: number; input?: unknown },
  { taskTypes, priorityCeiling, modelRefusal }: Principal,
  pointer: string,
): FieldError[] {
  const errors: FieldError[] = [];
  if (taskTypes && !taskTypes.includes(type))
    errors.push({ pointer: `${pointer}/type`, detail: `is not open to this API key, only ${taskTypes.join(', ')}` });
  if (priorityCeiling !== undefined && priority !== undefined && priority < priorityCeiling)
    errors.push({ pointer: `${pointer}/priority`, detail: `must be from ${priorityCeiling} to 10 with this API key` });
  const model = (input as { model?: unknown } | null | undefined)?.model;
  const refused = typeof model === 'string' ? modelRefusal?.(model) : undefined;
  if (refused !== undefined) errors.push({ pointer: `${pointer}/input/model`, detail: refused });
  return errors;
}

/** The priority of what names none: the usual one, or the first that the API key may use. */
export function usualPriority({ priorityCeiling = 1 }: Principal): number {
  return Math.max(DEFAULT_PRIORITY, priorityCeiling);
}

/** The problem for what somebody may not submit; of the errors the first, where there are many. */
export function beyondKey(errors?: FieldError[]): ProblemError {
  const [first] = errors ?? [];
  const what = first ? `${first.pointer} ${first.detail}` : 'its type, its priority or its model';
  const detail = `This is not open to this API key or role: ${what}.`;
  return new ProblemError('forbidden', detail, { errors: errors?.slice(0, MAX_ERRORS) });
}
