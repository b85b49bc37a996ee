import type { DescribeRouteOptions } from 'hono-openapi';
import { MESSAGES, type Message } from '../shapes/message.ts';
import type { Parameter } from './parameters.ts';
import { schemaOf } from './schema.ts';

/** The headers of every message (https://www.standardwebhooks.com). */
const HEADERS: Record<string, string> = {
  'webhook-id': 'The id of the message, the same in every attempt: what came twice is known by it.',
  'webhook-timestamp': 'When this attempt was made, in seconds since 1970.',
  'webhook-signature':
    '`v1,` and the HMAC-SHA256, in base64, of id, timestamp and body with a dot between, made with the secret; two of them, with a space between, while the secret is being rotated.',
};

/** What is sent to a webhook of a user at an event, as an operation of the receiver. */
export function describeMessage(event: string): DescribeRouteOptions {
  const { summary, body, example } = MESSAGES[event] as Message;
  const headers = Object.entries(HEADERS).map(
    ([name, description]): Parameter => ({
      name,
      in: 'header',
      required: true,
      description,
      schema: { type: 'string' },
    }),
  );
  return {
    operationId: `on${event.replace(/(?:^|\.)(\w)/g, (_, first: string) => first.toUpperCase())}`,
    summary,
    tags: ['Webhooks'],
    // Who receives it checks the signature.
    security: [],
    parameters: headers as DescribeRouteOptions['parameters'],
    requestBody: { required: true, content: { 'application/json': { schema: schemaOf(body), example } } },
    responses: {
      '2XX': { description: 'It has arrived. Anything else, or more than 15 s, is a failure, and it is sent again.' },
    },
  };
}
