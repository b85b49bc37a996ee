/** A step and what it needs. */
export interface TreeNode {
  id: string;
  needs: string[];
  /** What is said of it beside its id. */
  text: string;
}

/**
 * Steps that need each other as the lines of a tree: each stands below the step before it that is furthest from the beginning, and
 * says what else it needs. What comes first stands first.
 */
export function treeLines(nodes: readonly TreeNode[]): string[] {
  const known = new Map(nodes.map((node) => [node.id, node]));
  const depths = depthsOf(nodes, known);
  const below = new Map<string | undefined, TreeNode[]>();
  for (const node of nodes) {
    const parent = parentOf(node, depths);
    below.set(parent, [...(below.get(parent) ?? []), node]);
  }
  const lines: string[] = [];
  // A stack, because a chain may be longer than calls may nest.
  const stack = (below.get(undefined) ?? []).map((node) => ({ node, lead: '', mark: '' })).reverse();
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { node, lead, mark } = next;
    const parent = parentOf(node, depths);
    const others = node.needs.filter((need) => need !== parent && known.has(need));
    const also = others.length > 0 ? ` (after ${others.join(', ')} too)` : '';
    lines.push(`${lead}${mark}${node.id}  ${node.text}${also}`);
    const inner = lead + (mark === '' ? '' : mark === '├─ ' ? '│  ' : '   ');
    const children = below.get(node.id) ?? [];
    for (const [index, child] of [...children.entries()].reverse())
      stack.push({ node: child, lead: inner, mark: index === children.length - 1 ? '└─ ' : '├─ ' });
  }
  return lines;
}

/** How many steps there are before each at most. */
function depthsOf(nodes: readonly TreeNode[], known: ReadonlyMap<string, TreeNode>): Map<string, number> {
  const depths = new Map<string, number>();
  const stack = nodes.map(({ id }) => id);
  for (let id = stack.at(-1); id !== undefined; id = stack.at(-1)) {
    const needs = (known.get(id)?.needs ?? []).filter((need) => known.has(need));
    const open = needs.filter((need) => !depths.has(need));
    if (depths.has(id) || open.length === 0) {
      if (!depths.has(id)) depths.set(id, Math.max(-1, ...needs.map((need) => depths.get(need) as number)) + 1);
      stack.pop();
    } else stack.push(...open);
  }
  return depths;
}

function parentOf({ needs }: TreeNode, depths: ReadonlyMap<string, number>): string | undefined {
  const there = needs.filter((need) => depths.has(need));
  const deepest = Math.max(...there.map((need) => depths.get(need) as number));
  return there.find((need) => depths.get(need) === deepest);
}
