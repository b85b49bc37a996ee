import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { exampleOf, flagsOf, placeOfWords, type Schema } from '../../src/cli/flags.ts';
import { addClientCommands } from '../../src/cli/index.ts';
import { readObject } from '../../src/cli/input.ts';
import { findFault } from '../../src/cli/json-fault.ts';
import { jsonText, oneLine } from '../../src/cli/terminal.ts';

/** Every command over HTTP, the commands below commands as well. */
function all(command: Command, path: string[] = []): Array<[string, Command]> {
  return command.commands.flatMap((one) => {
    const here = [...path, one.name()];
    return [[here.join(' '), one], ...all(one, here)] as Array<[string, Command]>;
  });
}

const program = new Command('sutazai');
addClientCommands(program, { config: () => Promise.reject(new Error()) as never, findLocal: async () => undefined });

it.each(all(program))('sutazai %s says what it does, and shows an example that it takes', (path, command) => {
  let help = '';
  command.configureOutput({
    writeOut: (text) => {
      help += text;
    },
  });
  command.outputHelp();
  const parts = [...command.options, ...command.registeredArguments].map(({ description }) => description);
  expect([command.description(), ...parts]).not.toContain('');
  if (command.commands.length > 0 && !help.includes('Example')) return;
  const examples = [...help.matchAll(/^ {2}(?:.*\| )?sutazai (.*)$/gm)].map(([, line = '']) => line);
  expect(examples.length).toBeGreaterThan(0);
  for (const example of examples) expect(example.startsWith(path.split(' ')[0] ?? '')).toBe(true);
  // Each option of an example is there, but those that `run` has from the type.
  const options = new Set(command.options.flatMap(({ long, short }) => [long, short]));
  const named = examples.join(' ').match(/ --[a-z-]+/g) ?? [];
  if (path !== 'run') expect(named.map((name) => name.trim()).filter((name) => !options.has(name))).toEqual([]);
});

it('refuses what contradicts itself before anybody is asked', () => {
  let said = '';
  const strict = new Command('sutazai').exitOverride().configureOutput({
    writeErr: (text) => {
      said += text;
    },
  });
  addClientCommands(strict, { config: () => Promise.reject(new Error()) as never, findLocal: async () => undefined });
  const args = ['collections', 'create', 'notes', '--own-vectors', '--embedding-model', 'nomic-embed-text'];
  expect(() => strict.parse(args, { from: 'user' })).toThrow();
  expect(said).toContain("'--own-vectors' cannot be used with option '--embedding-model <model>'");
});

it('gives words to the first text that is needed and not given', () => {
  const schema: Schema = {
    required: ['collection', 'limit', 'question'],
    properties: { collection: { type: 'string' }, limit: { type: 'number' }, question: { type: 'string' } },
  };
  expect(placeOfWords(schema)?.name).toBe('collection');
  expect(placeOfWords(schema, { collection: 'docs' })?.name).toBe('question');
  expect(placeOfWords(schema, { collection: 'docs', question: 'why' })).toBeUndefined();
});

it('makes flags of a schema, of each kind', () => {
  const schema: Schema = {
    type: 'object',
    required: ['a_b', 'input'],
    properties: {
      a_b: { type: 'string' },
      input: { anyOf: [{ type: 'string' }, { type: 'array' }] },
      mode: { type: 'string', enum: ['x', 'y'] },
      on: { type: 'boolean' },
      many: { type: 'array', items: { type: 'string' } },
      nested: { type: 'object', properties: { deep_one: { type: 'integer' } } },
      any: {},
    },
  };
  const flags = flagsOf(schema).map(({ option, path }) => `${option.flags} → ${path.join('.')}`);
  expect(flags).toEqual([
    '--a-b <text> → a_b',
    '--field-input <value> → input',
    '--mode <text> → mode',
    '--on → on',
    '--no-on → on',
    '--many <text> → many',
    '--nested <json> → nested',
    '--nested.deep-one <number> → nested.deep_one',
    '--any <value> → any',
  ]);
  const example = exampleOf('t', schema, { a_b: "it's", input: ['x'], nested: { deep_one: 1 } });
  expect(example).toBe(`sutazai run t 'it'\\''s' --field-input '["x"]' --nested '{"deep_one":1}'`);
});

it('takes a flag with underscores, and leaves values and words as they were typed', () => {
  const command = new Command().argument('[words...]');
  for (const { option } of flagsOf({ properties: { keep_alive: { type: 'string' }, on_top: { type: 'boolean' } } }))
    command.addOption(option);
  const given = ['--keep_alive', '--my_var is here', '--no-on_top', '--', '--snake_case prompt', '--keep_alive=1'];
  command.parse(given, { from: 'user' });
  expect([command.opts(), command.args]).toEqual([
    { keepAlive: '--my_var is here', onTop: false },
    ['--snake_case prompt', '--keep_alive=1'],
  ]);
});

it.each([
  ['{"key": hush-hush}', 'line 1, column 9, where a value is wanted'],
  ['{"key": "hush-hush', 'line 1, column 19, where the closing " of a text'],
  ['{"key": "hush\n-hush"}', 'line 1, column 14, where the closing " of a text'],
  ['{"key":\n  "hush-hush",}', 'line 2, column 15, where a name in double quotes is wanted'],
  ['{} hush-hush', 'line 1, column 4, where nothing more is wanted'],
  ['', 'line 1, column 1, where a value is wanted'],
])(
  'says where %j in a file is no JSON, and shows nothing of it, because it may be a secret',
  async (content, where) => {
    const folder = mkdtempSync(join(tmpdir(), 'sutazai-input-'));
    const file = join(folder, 'secrets.json');
    writeFileSync(file, content);
    const error = await readObject(file, '--secrets').catch((reason) => reason);
    rmSync(folder, { recursive: true });
    expect(error.message).toContain(`--secrets is not JSON: ${file}, ${where}`);
    expect([error.message, error.cause]).toEqual([expect.not.stringContaining('hush'), undefined]);
  },
);

it('shows what is wrong with JSON that was typed', async () => {
  const long = `{"message": "${'x'.repeat(100)}", "tags": ["a" "b"]}`;
  const said = (text: string) => readObject(text).catch(({ message }) => message.split('\n'));
  expect(await said('{message: hi}')).toEqual([
    '--input is not JSON: line 1, column 2, where a name in double quotes or } is wanted.',
    '  {message: hi}',
    '   ^',
    'A shell takes double quotes away: put single quotes around the whole.',
  ]);
  expect(await said(long)).toEqual([
    '--input is not JSON: line 1, column 130, where a comma or ] is wanted.',
    `  ${'x'.repeat(14)}", "tags": ["a" "b"]}`,
    `  ${' '.repeat(30)}^`,
  ]);
});

it('finds a fault in what is no JSON, and in nothing else', () => {
  const text = fc
    .tuple(
      fc.json(),
      fc.nat(),
      fc.constantFrom('', '"', '\\', '\n', ',', ':', '}', ']', '0', '-', '.', 'e', '\\u00e9', 'é'),
    )
    .map(([json, at, piece]) => {
      const place = at % (json.length + 1);
      return json.slice(0, place) + piece + json.slice(place + (at % 2));
    });
  const isJson = (given: string) => {
    try {
      JSON.parse(given);
      return true;
    } catch {
      return false;
    }
  };
  const check = fc.property(text, (given) => (findFault(given) === undefined) === isJson(given));
  fc.assert(check, {
    numRuns: 500,
    examples: [['01'], ['-'], ['[1.]'], ['"\t"'], ['"\\x"'], ['nul'], ['[}'], ['"\u2028"'], [' ']],
  });
});

it('prints JSON that steers no terminal, and is the same JSON', () => {
  const value = { 'a\u009b2J': ['\u001b[2J\u007f', 'Zoë 😀\u0085'] };
  const text = jsonText(value, 2);
  expect(text).not.toMatch(/(?!\n)\p{Cc}/u);
  expect([JSON.parse(text), JSON.parse(jsonText(value))]).toEqual([value, value]);
});

it('cuts a line before a character, never through it', () => {
  expect([oneLine('ab😀cd', 4), oneLine('ab😀cd', 5), oneLine('ab😀cd', 6)]).toEqual(['ab…', 'ab😀…', 'ab😀cd']);
});

it('is unsure about nothing that looks like a number, JSON or a text', () => {
  const read = (schema: Schema, text: string) => {
    const [flag] = flagsOf({ properties: { x: schema } });
    return flag?.option.parseArg?.(text, undefined as never);
  };
  const either: Schema = { anyOf: [{ type: 'string' }, { type: 'number' }] };
  expect([read(either, '5'), read(either, '-1.5'), read(either, '5m'), read(either, '[')]).toEqual([
    5,
    -1.5,
    '5m',
    '[',
  ]);
  expect([read({}, '{"a": 1}'), read({}, 'text'), read({}, '5')]).toEqual([{ a: 1 }, 'text', '5']);
  expect(() => read({ type: 'number' }, '')).toThrow('It wants a number.');
  expect(() => read({ type: 'array' }, '[x]')).toThrow(
    'It wants JSON; see line 1, column 2, where a value or ] is wanted.\n  [x]\n   ^',
  );
});
