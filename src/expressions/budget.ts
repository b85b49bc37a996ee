import { ExpressionError } from './error.ts';

/** A text that an expression makes may have so many characters. */
export const MAX_TEXT = 1_048_576;

/** How much one evaluation may do: a part of an expression that is worked out costs one, and more where it is about much. */
const BUDGET = 100_000;
/** How much all expressions of a template may do together, what they give counted too. */
const BUDGET_TOGETHER = 500_000;

/** Without a stack, because loops that swallow errors may meet it very often. */
const EXHAUSTED = new ExpressionError('asks for too much work');
EXHAUSTED.stack = '';

/** A node of the tree that the library makes of an expression. */
export interface Node {
  op: string;
  args: unknown;
  pos: number;
  meta: { alternate?: Node; macro?: object };
  evaluate(this: Node, ...rest: unknown[]): unknown;
  /** What is done with the values of its parts; there once the types were checked. */
  handle?(...rest: unknown[]): unknown;
}

export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'op' in value && 'meta' in value && 'evaluate' in value;
}

/** Goes through all that is worked out for an expression, what its loops are made of too. */
export function visitNodes(tree: Node, work: (node: Node) => void): void {
  const seen = new Set<unknown>();
  (function visit(value: unknown): void {
    if (typeof value !== 'object' || value === null || seen.has(value)) return;
    seen.add(value);
    if (isNode(value)) work(value);
    const parts = isNode(value) ? [value.args, value.meta.alternate, value.meta.macro] : Object.values(value);
    for (const part of parts) visit(part);
  })(tree);
}

/**
 * The library bounds how large an expression is, not what it does: two loops over a long list, or a text that is doubled
 * thirty times, fit in a line. So each node is counted as it is worked out, by the size of what it is about where that
 * matters. No evaluation interrupts another one, so one number is enough.
 */
export function createBudget(): {
  watch(tree: Node): void;
  spend<T>(work: () => T): T;
  together<T>(work: () => T): T;
  payForResult(): void;
} {
  let left = 0;
  /** What is left for those that have one budget together. */
  let shared = Number.POSITIVE_INFINITY;

  function pay(cost: number): void {
    left -= cost;
    if (left < 0) throw EXHAUSTED;
  }

  /** Pays for all that is in a value, which a comparison of it may look at. */
  function payForAll(value: unknown): void {
    pay(1 + (lengthOf(value) >> 8));
    if (Array.isArray(value)) for (const one of value) payForAll(one);
    else if (value instanceof Map) for (const one of value.values()) payForAll(one);
    else if (isRecord(value)) for (const key in value) payForAll(value[key]);
  }

  function keysOf(value: Record<string, unknown>): number {
    if (value instanceof Map) return value.size;
    let keys = 0;
    for (const _ in value) if (++keys > left) break;
    return keys;
  }

  function payFor(node: Node, values: unknown[]): void {
    const [left, right] = values;
    if (node.op === 'comprehension') pay(isRecord(left) ? keysOf(left) : lengthOf(left));
    else if (node.op === '+') pay((lengthOf(left) + lengthOf(right)) >> (typeof left === 'string' ? 6 : 3));
    else if (COMPARING.has(node.op)) for (const value of [left, right]) payForAll(value);
    else payForCall(String((node.args as unknown[])[0]), left as unknown[]);
  }

  function payForCall(name: string, parts: unknown[]): void {
    for (const part of parts) pay(isRecord(part) ? keysOf(part) : lengthOf(part) >> 4);
    if (SEARCHING.has(name)) pay((lengthOf(parts[0]) * lengthOf(parts[1])) / 1_024);
    // A time zone is looked up in the calendar of the machine.
    if (name.startsWith('get') && parts.length > 1) pay(2_000);
  }

  function count(node: Node): void {
    let inner = node.evaluate;
    function counted(this: Node, ...rest: unknown[]): unknown {
      pay(1);
      try {
        const value = inner.apply(this, rest);
        if (lengthOf(value) <= MAX_TEXT) return value;
      } catch (error) {
        // An error is dear to make, and there are loops that swallow errors.
        pay(100);
        throw error;
      }
      throw new ExpressionError(`makes more than ${MAX_TEXT} characters or entries`);
    }
    // The library puts the right function in the place of its own at the first call.
    Object.defineProperty(node, 'evaluate', {
      get: () => counted,
      set: (next: typeof inner) => {
        inner = next;
      },
    });
    if (node.op === 'comprehension') endInTime(node.args as { condition?: (value: unknown) => boolean });
    const { handle } = node;
    if (!handle || !WEIGHED.has(node.op)) return;
    node.handle = (...rest) => {
      payFor(node, rest);
      return handle.apply(node, rest);
    };
  }

  /** Loops that ask whether they go on also swallow errors, this one too. */
  function endInTime(loop: { condition?: (value: unknown) => boolean }): void {
    const { condition } = loop;
    if (condition) loop.condition = (value) => left >= 0 && condition(value);
  }

  return {
    watch: (tree) => visitNodes(tree, count),
    spend(work) {
      const given = Math.min(BUDGET, shared);
      left = given;
      try {
        const value = work();
        // A loop that swallows errors may have swallowed this one.
        if (left < 0) throw EXHAUSTED;
        return value;
      } finally {
        shared -= given - left;
      }
    },
    together(work) {
      shared = BUDGET_TOGETHER;
      try {
        return work();
      } finally {
        shared = Number.POSITIVE_INFINITY;
      }
    },
    payForResult() {
      if (--shared < 0) throw EXHAUSTED;
    },
  };
}

const COMPARING = new Set(['==', '!=', 'in', '<', '<=', '>', '>=']);
const WEIGHED = new Set(['comprehension', 'call', 'rcall', '+', ...COMPARING]);
const SEARCHING = new Set(['contains', 'indexOf', 'lastIndexOf', 'split']);

function lengthOf(value: unknown): number {
  return typeof value === 'string' || Array.isArray(value) || value instanceof Uint8Array ? value.length : 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}
