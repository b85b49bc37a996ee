import type { OllamaCall } from '../../support/fake-ollama.ts';
import type { NewTask } from './client.ts';
import type { Rig } from './rig.ts';
import { until } from './wait.ts';

/** A chat of one message. */
export function chat(content: string, more: Partial<NewTask> = {}): NewTask {
  return { type: 'chat', input: { messages: [{ role: 'user', content }] }, ...more };
}

/** So many tasks. */
export function many(count: number, make: (n: number) => NewTask): NewTask[] {
  return Array.from({ length: count }, (_, n) => make(n));
}

/** What a call of the model host says: its first message, or its prompt. */
export function saidIn({ body }: OllamaCall): string {
  const [message] = (body.messages ?? []) as Array<{ content: string }>;
  return message?.content ?? String(body.prompt ?? '');
}

export const SAID_FULL = { error: 'server busy, please try again.  maximum pending requests exceeded' };

/** What became of a task that asked a model. */
export interface Asked {
  status: string;
  attempt: number;
  failures: number;
  code: string | null;
  /** The text that the model answered. */
  content: string | null;
  done_reason: string | null;
}

/** What became of all tasks that asked a model, by what they said. */
export async function askedTasks(rig: Rig): Promise<Map<string, Asked>> {
  const rows = await rig.postgres.query<Asked & { said: string }>(
    `select status, attempt, failures, error->>'code' as code, output->>'done_reason' as done_reason,
       coalesce(output->'message'->>'content', output->>'text') as content,
       coalesce(input->'messages'->0->>'content', input->>'prompt', input->>'input') as said
     from tasks where lane in ('llm', 'embed')`,
  );
  return new Map(rows.map((row) => [row.said, row]));
}

/** Waits until every task has ended; answers how many milliseconds that took. */
export async function allEnded(rig: Rig, withinMs: number): Promise<number> {
  const open = async () =>
    (await rig.postgres.query(`select from tasks where completed_at is null limit 1`)).length === 0;
  return (await until('the end of every task', open, withinMs)).tookMs;
}
