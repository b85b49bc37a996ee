import { Environment, type ParseResult } from '@marcbachmann/cel-js';
import { createBudget, isNode, type Node } from './budget.ts';
import { countCharacters } from './characters.ts';
import { ExpressionError } from './error.ts';
import { plainValue, readable, readableParts } from './values.ts';

/** Longer expressions are refused; a program belongs into a task. */
const MAX_EXPRESSION = 4_096;

/** A value that an expression names, as far as that stands in its text: `steps.a.output[0]` is `steps` and `a`, `output`, `0`. */
export interface Reference {
  root: string;
  path: string[];
  /** Where it begins, in characters from 0. */
  at: number;
}

/** An expression that was read and whose types were checked. */
export interface Expression {
  text: string;
  references: Reference[];
  /** The value that it is, where it is nothing but the name of one: it fails where that is not there. */
  alone: Reference | undefined;
  /** What it gives, as far as that is known: `bool`, `string`, `double`, `list`, …; `dyn` where it depends on values. */
  type: string;
  /**
   * Works it out: plain JSON, within a bounded amount of work.
   * @throws ExpressionError where a value is not there, is of the wrong type, or it would be too much work
   */
  evaluate(context: Record<string, unknown>): unknown;
}

export interface Language {
  /** @throws ExpressionError that says what is wrong, and where */
  parse(text: string): Expression;
  /** All that is worked out in it does so much work together as a few expressions may. */
  together<T>(work: () => T): T;
}

/**
 * The Common Expression Language (https://cel.dev) with these variables and no others. Numbers of JSON are doubles in it, so
 * whole numbers that stand in an expression may be mixed with them.
 * @param options.named of these variables only what is in them can be used, by names that stand in the text
 */
export function createLanguage(options: { variables: readonly string[]; named?: readonly string[] }): Language {
  const environment = new Environment({
    homogeneousAggregateLiterals: false,
    enableOptionalTypes: true,
    limits: { maxAstNodes: 1_000, maxDepth: 40, maxListElements: 500, maxMapEntries: 500, maxCallArguments: 4 },
  });
  for (const name of options.variables) environment.registerVariable(name, 'dyn');
  for (const [operator, work] of MIXED) {
    for (const [left, right] of [
      ['int', 'double'],
      ['double', 'int'],
    ])
      environment.registerOperator(`${left} ${operator} ${right}: double`, (a, b) => work(Number(a), Number(b)));
  }
  environment.registerOperator('double % double: double', (a, b) => a % b);
  environment.registerFunction('json(string): dyn', readJson);
  const budget = createBudget();

  function parse(text: string): Expression {
    if (text.length > MAX_EXPRESSION) throw new ExpressionError(`must have at most ${MAX_EXPRESSION} characters`);
    const program = orError(() => environment.parse(text));
    const tree = program.ast as unknown as Node;
    const references = referencesOf(tree, options.variables, options.named ?? []);
    const checked = program.check();
    if (checked.error) throw explained(checked.error);
    let watched = false;
    return {
      text,
      references,
      alone: isChain(tree) ? references[0] : undefined,
      type: typeof checked.type === 'string' ? checked.type.replace(/<.*/, '') : 'dyn',
      evaluate(context) {
        if (!watched) {
          countCharacters(tree);
          budget.watch(tree);
        }
        watched = true;
        return orError(() =>
          plainValue(
            budget.spend(() => run(program, context, options.named ?? [])),
            budget.payForResult,
          ),
        );
      },
    };
  }
  return { parse, together: budget.together };
}

function readJson(text: string): unknown {
  try {
    return readable(JSON.parse(text));
  } catch {
    throw new ExpressionError('json() was given a text that is no JSON');
  }
}

/** A context without a prototype, so that nothing is there but what was given. */
function run(program: ParseResult, context: Record<string, unknown>, named: readonly string[]): unknown {
  const values = Object.create(null);
  for (const [name, value] of Object.entries(context))
    values[name] = named.includes(name) && isObject(value) ? readableParts(value) : readable(value);
  return program(values);
}

const MIXED: Array<[string, (a: number, b: number) => number]> = [
  ['+', (a, b) => a + b],
  ['-', (a, b) => a - b],
  ['*', (a, b) => a * b],
  ['/', (a, b) => a / b],
  ['%', (a, b) => a % b],
];

/** What may be called. Patterns (`matches`) are not there: some take for ever. */
const FUNCTIONS = new Set(
  (
    'has size string int uint double bool bytes type timestamp duration dyn all exists exists_one map filter bind ' +
    'startsWith endsWith contains lowerAscii upperAscii trim indexOf lastIndexOf substring split join json hex base64 ' +
    'at of none hasValue value or orValue optMap optFlatMap getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear getHours ' +
    'getMilliseconds getMinutes getMonth getSeconds'
  ).split(' '),
);
const LOOPS = new Set(['all', 'exists', 'exists_one', 'map', 'filter', 'bind', 'optMap', 'optFlatMap']);

function referencesOf(tree: Node, variables: readonly string[], named: readonly string[]): Reference[] {
  const found: Reference[] = [];
  (function visit(part: unknown): void {
    if (Array.isArray(part)) for (const one of part) visit(one);
    if (!isNode(part)) return;
    const path = pathOf(part);
    if (path) {
      const [root, ...rest] = path.names as [string, ...string[]];
      if (!variables.includes(root)) return;
      if (rest.length === 0 && named.includes(root))
        throw new ExpressionError(`${root} wants a name after it, as in ${root}.name`, part.pos);
      found.push({ root, path: rest, at: path.at });
      return;
    }
    if (part.op === 'call' || part.op === 'rcall') {
      const parts = part.args as unknown[];
      const name = String(parts[0]);
      if (!FUNCTIONS.has(name)) throw new ExpressionError(`there is no function ${name} here`, part.pos);
      const [first] = (parts.at(-1) ?? []) as unknown[];
      if (part.op === 'rcall' && LOOPS.has(name) && isNode(first) && variables.includes(String(first.args)))
        throw new ExpressionError(`${first.args} has a meaning already: take another name in ${name}`, first.pos);
    }
    visit(part.args);
  })(tree);
  return found;
}

/** The names of `a.b["c"][0]`, where the node is such a chain and begins with a name. */
function pathOf(node: Node): { names: string[]; at: number } | undefined {
  if (node.op === 'id') return { names: [String(node.args)], at: node.pos };
  if (!['.', '.?', '[]', '[?]'].includes(node.op)) return undefined;
  const [left, right] = node.args as [Node, unknown];
  const path = pathOf(left);
  const name = isNode(right) ? right.op === 'value' && right.args : right;
  if (!path || (typeof name !== 'string' && typeof name !== 'bigint')) return undefined;
  return { names: [...path.names, String(name)], at: path.at };
}

/** Whether it is a name, or what is in one by names and places that stand there, and all of it has to be there. */
function isChain({ op, args }: Node): boolean {
  if (op === 'id') return true;
  if (op !== '.' && op !== '[]') return false;
  const [left, right] = args as [Node, unknown];
  return isChain(left) && (!isNode(right) || right.op === 'value');
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

function orError<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw explained(error);
  }
}

/** The library's errors say what is wrong in `summary`, without the picture of the line that is in their message. */
function explained(error: unknown): ExpressionError {
  if (error instanceof ExpressionError) return error;
  const { summary, range } = error as { summary?: string; range?: { start: number } };
  return new ExpressionError(summary ?? 'cannot be worked out with these values', range?.start);
}
