import * as v from 'valibot';
import type { Db } from '../db/connect.ts';
import { newId } from '../db/ids.ts';
import type { StoredError } from '../db/schema.ts';
import type { NewTask } from '../db/tasks/accept.ts';
import { loadDefinition } from '../db/workflow-definitions.ts';
import type { Run } from '../db/workflows/runs.ts';
import { cleanJson, cleanText, findNotJson } from '../tasks/clean.ts';
import type { Registry } from '../tasks/index.ts';
import { fieldErrors } from '../tasks/issues.ts';
import { type Step, WORKFLOW, type WorkflowInput } from '../tasks/workflow-definition.ts';

/** What the tasks of steps are made with. */
export interface ChildOptions {
  registry: Registry;
  /** What is wrong with a URL that users want to be called. */
  checkUrl: (url: string) => string | undefined;
}

/** The input that a step makes may have so many bytes. */
const MAX_INPUT_BYTES = 1_048_576;
/** So many workflows may run one inside of another. */
export const MAX_DEPTH = 5;

/** Makes the task of a step, checked as if it were submitted; or says why it cannot be one. */
export async function makeChild(
  trx: Db,
  run: Run,
  step: Pick<Step, 'type' | 'priority' | 'retry' | 'timeout_seconds' | 'concurrency_key'>,
  { title, input }: { title: string; input: unknown },
  { registry, checkUrl }: ChildOptions,
): Promise<NewTask | StoredError> {
  const type = registry.find(step.type);
  if (!type || type.route !== undefined)
    return wrong('unknown_task_type', `There is no task type ${step.type} for steps.`);
  const notJson = findNotJson(input);
  if (notJson) return wrong('invalid_input', `The input of the step: ${notJson.pointer} ${notJson.detail}.`);
  let clean = cleanJson(input);
  const bytes = Buffer.byteLength(JSON.stringify(clean) ?? '');
  if (bytes > MAX_INPUT_BYTES)
    return wrong('invalid_input', `The input of the step has ${bytes} bytes; at most ${MAX_INPUT_BYTES} are taken.`);
  const parsed = v.safeParse(type.input, clean);
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const [{ detail } = { detail: issue.message }] = fieldErrors([issue], '');
    return wrong(
      'invalid_input',
      sentence(`The input of the step: ${v.getDotPath(issue) ?? 'the whole of it'} ${detail}`),
    );
  }
  for (const field of type.urls ?? []) {
    const url = (parsed.output as Record<string, unknown>)[field];
    const detail = url === undefined ? undefined : checkUrl(String(url));
    if (detail) return wrong('invalid_input', `The input of the step: ${field} ${detail}.`);
  }
  if (type.name === WORKFLOW) {
    if (run.depth + 1 >= MAX_DEPTH)
      return wrong('invalid_input', `At most ${MAX_DEPTH} workflows may run one inside of another.`);
    const { workflow, version } = parsed.output as WorkflowInput;
    const found = workflow && (await loadDefinition(trx, run.user_id, { workflow, version }));
    if (workflow && !found)
      return wrong('invalid_input', `There is no workflow ${workflow} of yours, or not in that version.`);
    // What it is now, it stays.
    if (found) clean = { ...(clean as object), version: found.version };
  }
  const key = step.concurrency_key;
  return {
    id: newId(),
    user_id: run.user_id,
    type: type.name,
    lane: type.lane,
    title,
    priority: step.priority ?? run.priority,
    input: clean,
    max_attempts: step.retry?.max_attempts ?? type.defaults.attempts,
    timeout_ms: Math.round((step.timeout_seconds ?? type.defaults.timeoutSeconds) * 1000),
    metadata: {},
    tags: [],
    batch_id: null,
    parent_id: run.id,
    ...(key ? { concurrency_key: key.key, concurrency_limit: key.limit ?? 1, concurrency_policy: 'queue' } : {}),
    webhook: null,
    request_id: run.request_id,
    ...(run.traceparent ? { traceparent: run.traceparent } : {}),
    scheduled_for: null,
    delay_ms: null,
    expires_in_ms: null,
    watched: false,
  };
}

/** An error of a step, as it is stored. */
export const wrong = (code: string, message: string): StoredError => ({
  code,
  message: cleanText(message.slice(0, 2_000)),
  retryable: false,
});

/** The text with a full stop, where nothing else ends it. */
export const sentence = (text: string) => (/[.!?…]\s*$/.test(text) ? text : `${text.trimEnd()}.`);

export const isTask = (made: NewTask | StoredError): made is NewTask => 'user_id' in made;
