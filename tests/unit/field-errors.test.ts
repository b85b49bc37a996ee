import * as v from 'valibot';
import { expect, it } from 'vitest';
import { placed } from '../../src/api/openai/calls.ts';
import { chatRequest } from '../../src/api/openai/chat-request.ts';
import { fieldErrors } from '../../src/api/validate.ts';

it('a pointer into a task is one into the body of a call', () => {
  const at = (pointer: string) =>
    placed({ pointer, detail: '' }, [
      ['/type', ''],
      ['/options', ''],
    ]).pointer;
  expect(['#/type', '#/input/options/seed', '#/input/model', '#/input'].map(at)).toEqual([
    ...['#', '#/seed', '#/model', '#'],
  ]);
});

it('rules without words of their own say what they want', () => {
  const details = (schema: v.GenericSchema, given: unknown) =>
    fieldErrors(v.safeParse(schema, given).issues ?? []).map(({ detail }) => detail);
  expect(details(v.pipe(v.number(), v.safeInteger()), 1.5)).toEqual(['must be a whole number']);
  expect(details(v.pipe(v.number(), v.minValue(1)), 0)).toEqual(['must be at least 1']);
  expect(details(v.pipe(v.number(), v.maxValue(5)), 6)).toEqual(['must be at most 5']);
});

it('a limit of tokens is refused by the name that it has', () => {
  const messages = [{ role: 'user', content: 'Hi' }];
  const { issues } = v.safeParse(chatRequest, { model: 'tinyllama', messages, max_tokens: 1e12 });
  expect(fieldErrors(issues ?? []).map(({ pointer }) => pointer)).toEqual(['#/max_tokens']);
});
