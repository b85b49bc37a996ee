import { SutazaiError } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { longOf } from './flags.ts';
import { duration, harmless } from './terminal.ts';

/** What to do about a refusal, by its code. */
const NEXT: Record<string, (url: string, source: string) => string> = {
  network_error: (url) =>
    `Is the server at ${url} running? \`npm start\` starts one here; \`sutazai login --url …\` names another.`,
  request_timeout: (url) => `The server at ${url} is too slow. Try again, or look at ${url}/readyz.`,
  bad_answer: (url) => `Is ${url} the address of SutazAI? \`sutazai login --url …\` names another.`,
  unauthorized: logIn,
  invalid_token: logIn,
  invalid_credentials: () =>
    'Try again. The first password of `admin` was printed by the first start, and is in DATA_DIR/secrets.json.',
  forbidden: () => '`sutazai whoami` shows what you may do.',
  task_ended: () => '`sutazai tasks show <id>` shows it, `sutazai tasks retry <id>` runs it again.',
  task_running: () => '`sutazai tasks watch <id>` waits for its end, `sutazai tasks cancel <id>` ends it.',
};

function logIn(url: string, source: string): string {
  return source === 'login' ? `Run \`sutazai login --url ${url}\`.` : `Look at ${source}.`;
}

/** What says who asks: the login, a variable, or an option. */
export type Source = 'login' | 'SUTAZAI_API_KEY' | 'SUTAZAI_TOKEN' | '--api-key';

/** Whom a command asked, and as whom. */
interface Asked {
  url(): string;
  source(): Source;
}

/** The error as somebody at the terminal needs it: what happened and the next command. What is a fault of ours keeps its stack. */
export function explain(error: unknown, { url, source }: Asked): unknown {
  if (!(error instanceof SutazaiError)) return error;
  const { code, detail, errors, retryAfterMs, status, requestId } = error;
  const lines = [
    status === 401 && code !== 'invalid_credentials' && source() === 'login'
      ? `You are not logged in any more: ${detail}`
      : detail,
    ...errors.map(({ pointer, detail: what }) => `  ${flagOf(pointer)} ${what}`),
    NEXT[code]?.(url(), source()) ?? '',
    retryAfterMs === undefined ? '' : `Try again in ${duration(retryAfterMs)}.`,
    status >= 500 && requestId ? `The log of the server has it under request_id ${requestId}.` : '',
  ];
  return new UsageError(harmless(lines.filter(Boolean).join('\n')), { cause: error });
}

/** Fields that are arguments, and flags that have another name than their field. */
const ARGUMENTS: Record<string, string> = {
  type: 'the task type',
  action: 'the action',
  file: 'the file',
  query: 'the words',
  url: 'the URL',
  workflow: 'the workflow',
};
const FLAGS: Record<string, string> = {
  ...{
    batch_id: 'batch',
    catch_up: 'catch-up',
    chunk_tokens: 'chunk-tokens',
    content_type: 'content-type',
    created_before: 'before',
    delay_seconds: 'delay',
    embedding_model: 'embedding-model',
    error_code: 'error-code',
    every_seconds: 'every',
  },
  ...{
    max_attempts: 'attempts',
    overlap_tokens: 'overlap-tokens',
    q: 'search',
    schedule_id: 'schedule',
    score_threshold: 'threshold',
    tags: 'tag',
    timeout_seconds: 'timeout',
  },
};

/** How a field of a body or a query is written on the command line. */
function flagOf(pointer: string): string {
  const [first = '', ...below] = pointer.replace(/^#\//, '').split('/');
  if (first === 'input') return flagOfInput(below);
  // What is in a filter, or in the task of a schedule, has flags like everything else; its input is given as a whole.
  const [field = first, ...rest] = ['filter', 'task'].includes(first) ? below : [first, ...below];
  const path = rest.filter((step) => !/^\d+$/.test(step));
  return ARGUMENTS[field] ?? `--${[FLAGS[field] ?? field, ...path].join('.')}`;
}

/** A field of an input has a flag of its own with `run`. */
function flagOfInput([first, ...rest]: string[]): string {
  // Places in a list have none; what is wrong there is said with the whole path.
  return first === undefined ? 'the input' : `--${[longOf(first), ...rest].join('.').replaceAll('_', '-')}`;
}
