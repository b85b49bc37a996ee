import { Script } from 'node:vm';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { errorMessage, TaskError } from '../../errors.ts';
import type { ChatRequest } from '../../tasks/tools.ts';

type Asked = Pick<ChatRequest, 'format' | 'options'>;

/** A schema comes from a user: what it makes us do is broken off after so long; meanwhile the process does nothing else. */
const PATIENCE_MS = 250;
const MAX_SHOWN = 200;
const MAX_ERRORS = 5;

/**
 * The text of an answer as the JSON that was asked for; nothing where none was.
 * @throws TaskError `invalid_output` where it is no JSON or does not fit the schema. It is tried again, unless the model
 *   would say the same once more; `invalid_input` where the schema is none that can be worked with
 */
export function parsedAs({ format, options = {} }: Asked, text: string, doneReason: string): { parsed?: unknown } {
  if (format === undefined) return {};
  const wrong = (what: string) =>
    new TaskError('invalid_output', what + (doneReason === 'length' ? CUT_OFF : ''), {
      retryable: options.seed === undefined && options.temperature !== 0,
    });
  const parsed = parse(text, wrong);
  if (typeof format === 'string') return { parsed };
  const errors = misfitsOf(format, parsed, '`format`');
  if (errors.length > 0)
    throw wrong(`The answer does not fit the JSON Schema of \`format\`: ${errors.slice(0, MAX_ERRORS).join('; ')}.`);
  return { parsed };
}

const CUT_OFF =
  ' It was cut off (done_reason: length): give it a larger options.num_predict, or options.num_ctx where the context is full.';

function parse(text: string, wrong: (what: string) => TaskError): unknown {
  try {
    return JSON.parse(text);
  } catch {
    const shown = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
    throw wrong(`The answer is not the JSON that \`format\` asks for: ${JSON.stringify(shown)}.`);
  }
}

/** What about a value does not fit a JSON Schema of a user. @param name what its errors call the schema */
export function misfitsOf({ $schema: _, ...schema }: Record<string, unknown>, value: unknown, name: string): string[] {
  return bounded(name, () => {
    // One for each: what it learns from a schema stays in it, and they are of different users.
    const ajv = new Ajv2020({
      ...{ strict: false, allErrors: false, validateFormats: false, validateSchema: false, meta: false, logger: false },
      ...{ inlineRefs: false, code: { optimize: false } },
    });
    const validate = ajv.compile(schema);
    if (validate(value)) return [];
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath || 'it'} ${message}`);
  });
}

const script = new Script('globalThis[Symbol.for("sutazai.bounded")]()');
const BOUNDED = Symbol.for('sutazai.bounded');

/** Does what takes long in the hands of somebody who wants it to, as a regular expression can. @throws TaskError after a while */
function bounded<T>(name: string, work: () => T): T {
  const here = globalThis as unknown as Record<symbol, unknown>;
  here[BOUNDED] = work;
  try {
    return script.runInThisContext({ timeout: PATIENCE_MS }) as T;
  } catch (error) {
    const late = (error as NodeJS.ErrnoException).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
    const why = late ? 'takes too long to check' : `cannot be worked with: ${errorMessage(error).slice(0, 500)}`;
    throw new TaskError('invalid_input', `The JSON Schema of ${name} ${why}.`, { cause: error });
  } finally {
    delete here[BOUNDED];
  }
}
