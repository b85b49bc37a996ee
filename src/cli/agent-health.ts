import type { Command } from 'commander';
import type { AgentHealth } from '../client/index.ts';
import { act, type Context } from './context.ts';
import { harmless, oneLine, paint, say, sayJson, table } from './terminal.ts';

const COLOURS = { healthy: 'green', degraded: 'yellow', down: 'red', unknown: 'dim' } as const;

/** `agents health` and `agents check`: how an agent is, as it is known, and as it says now. */
export function agentHealthCommands(agents: Command, context: Context): void {
  agents
    .command('health')
    .description('how an agent is, and what was heard of it last')
    .argument('<agent>', 'its name or its id')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai agents health translator')
    .action(act(context, async (name: string, { json }) => show(await context.client().agents.health(name), json)));

  agents
    .command('check')
    .description('ask an agent now how it is; exits with 1 where it is down')
    .argument('<agent>', 'its name or its id')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai agents check translator')
    .action(
      act(context, async (name: string, { json }) => {
        const health = await context.client().agents.check(name);
        show(health, json);
        return health.state === 'down' ? 1 : 0;
      }),
    );
}

function show(health: AgentHealth, json: boolean | undefined): void {
  if (json) {
    sayJson(health);
    return;
  }
  const { state, circuit, note, running, latency, failures, last_error: error } = health;
  const ms = ({ p50_ms, p95_ms }: AgentHealth['latency']['calls']) =>
    p50_ms === null ? 'none yet' : `p50 ${p50_ms} ms, p95 ${p95_ms} ms`;
  say(`state: ${paint(COLOURS[state], state)}${note === null ? '' : ` (${harmless(note)})`}`);
  say(`circuit: ${circuit}`);
  say(`calls: ${ms(latency.calls)}; ${running} under way, ${failures.calls} failed in a row`);
  say(`probes: ${ms(latency.probes)}; ${failures.probes} failed in a row`);
  if (error) say(`last error: ${error.at} ${error.source} ${harmless(error.message ?? '')}`.trimEnd());
  const rows = health.history.map(({ at, source, ok, status, latency_ms, error: said }) => [
    ...[at, source, ok ? 'ok' : paint('red', 'failed'), String(status ?? ''), `${latency_ms} ms`],
    oneLine(said ?? '', 60),
  ]);
  if (rows.length > 0) say(table(['AT', 'BY', 'CAME TO', 'STATUS', 'TOOK', 'ERROR'], rows).join('\n'));
}
