import * as v from 'valibot';
import { TaskError } from '../../errors.ts';
import { strictObject } from '../../tasks/schemas.ts';
import type { Message } from '../../tasks/tools.ts';

const said = v.array(strictObject({ role: v.picklist(['user', 'assistant']), content: v.string() }));
const conversation = v.union([v.string(), strictObject({ messages: v.pipe(said, v.minLength(1)) })]);

/**
 * What a model with tools is asked: a text, or what was said so far. Whoever asks says nothing in the name of the system or of a tool.
 * @throws TaskError `invalid_input` for anything else
 */
export function conversationOf(input: unknown): Message[] {
  const parsed = v.safeParse(conversation, input);
  if (!parsed.success)
    throw new TaskError(
      'invalid_input',
      'The input of this agent must be a text, or an object with `messages`, each with a role of user or assistant and a text as content.',
    );
  return typeof parsed.output === 'string' ? [{ role: 'user', content: parsed.output }] : parsed.output.messages;
}
