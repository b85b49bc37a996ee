import { expect } from 'vitest';
import type { Client } from './world.ts';

/** Where nobody listens. */
export const HERE = 'http://127.0.0.1:9';

export interface Agent {
  id: string;
  name: string;
  config: object | null;
  endpoint: string | null;
  secret_names: string[] | null;
}

let count = 0;
export const newName = () => `agent-${++count}`;

const post = (client: Client, body: object) =>
  client.request<Agent>('POST', '/api/v1/agents', { name: newName(), type: 'http', endpoint: HERE, ...body });

/** The routes of the registry. */
export const agentCalls = {
  post,
  patch: (client: Client, id: string, body: object) => client.request<Agent>('PATCH', `/api/v1/agents/${id}`, body),
  get: (client: Client, id: string) => client.request<Agent>('GET', `/api/v1/agents/${id}`),
  /** An agent of the type `http` unless the body says another; fails the test where it is not taken. */
  async make(client: Client, body: object = {}): Promise<Agent> {
    const answer = await post(client, body);
    expect(answer.status, JSON.stringify(answer.body)).toBe(201);
    return answer.body;
  },
};
