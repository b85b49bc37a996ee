import type { Command } from 'commander';
import type { WorkflowGraph, WorkflowNode } from '../client/index.ts';
import { act, type Context } from './context.ts';
import { ago, oneLine, paint, paintStatus, say, sayJson } from './terminal.ts';
import { treeLines } from './tree.ts';

const ID = '0199f3a2-7c1e-7000-8000-000000000000';
/** Of how many steps stand where: what is over first. */
const ORDER = ['completed', 'skipped', 'failed', 'cancelled', 'running', 'awaiting', 'ready', 'waiting'];

/** Further commands of `tasks`, for workflows: where their steps stand, and saying yes or no to one. */
export function graphCommands(tasks: Command, context: Context): void {
  tasks
    .command('graph')
    .description('the steps of a workflow as a tree: where each stands, and what it waits for')
    .argument('<id>', 'the id of a task of the type workflow')
    .option('--json', 'one JSON value')
    .addHelpText('after', `\nExample:\n  sutazai tasks graph ${ID}`)
    .action(
      act(context, async (id: string, { json }) => {
        const graph = await context.client().tasks.graph(id);
        if (json) return sayJson(graph);
        say(shown(graph).join('\n'));
      }),
    );

  for (const [verb, about] of [
    ['approve', 'let a workflow go on that waits for a human'],
    ['reject', 'say no to a step that waits for a human: it fails'],
  ] as const)
    tasks
      .command(verb)
      .description(about)
      .argument('<id>', 'the id of the workflow')
      .argument('<step>', 'the id of the step')
      .option('--comment <text>', 'why')
      .option('--json', 'one JSON value')
      .addHelpText('after', `\nExample:\n  sutazai tasks ${verb} ${ID} ask --comment 'seen and checked'`)
      .action(
        act(context, async (id: string, step: string, { comment, json }) => {
          const decision = await context.client().tasks[verb](id, step, { comment });
          if (json) return sayJson(decision);
          say(`${oneLine(step, 100)} is ${verb === 'approve' ? 'approved' : 'rejected'}`);
        }),
      );
}

function shown({ phase, counts, nodes, edges }: WorkflowGraph): string[] {
  const needs = Map.groupBy(edges, ({ to }) => to);
  const lines = treeLines(
    nodes.map((node) => ({
      id: node.id,
      text: textOf(node),
      needs: (needs.get(node.id) ?? []).map(({ from }) => from),
    })),
  );
  const known = Object.entries(counts).sort(([one], [other]) => ORDER.indexOf(one) - ORDER.indexOf(other));
  const sum = known.map(([status, count]) => `${count} ${status}`);
  return [paint('dim', `${phase}: ${sum.join(', ')}`), ...lines];
}

function textOf({ type, title, status, items, approval, error, undo, ended_at }: WorkflowNode): string {
  const { decision, approvers } = approval ?? {};
  const of = items && `${items.completed} of ${items.total}${items.failed > 0 ? `, ${items.failed} failed` : ''}`;
  const who = status === 'awaiting' ? `wants ${approvers?.join(' or ') ?? 'its owner'}` : undefined;
  const parts = [
    paint('dim', type),
    paintStatus(status),
    of && `[${of}]`,
    title && oneLine(title, 60),
    decision ? `by ${decision.by}${decision.comment ? `: ${oneLine(decision.comment, 60)}` : ''}` : who,
    error && oneLine(`${error.code}: ${error.message}`, 80),
    undo && `undone: ${undo.status}`,
    ended_at && paint('dim', ago(ended_at)),
  ];
  return parts.filter(Boolean).join(' ');
}
