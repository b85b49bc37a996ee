import type { Command } from 'commander';
import { agentCommands } from './agents.ts';
import { catalogueCommands } from './catalogue.ts';
import { collectionCommands } from './collections.ts';
import { completionCommand } from './completion.ts';
import { createContext, type Surroundings } from './context.ts';
import { documentCommands } from './documents.ts';
import { loginCommands } from './login.ts';
import { modelCommands } from './models.ts';
import { runCommand } from './run.ts';
import { scheduleCommands, webhookCommands } from './subscriptions.ts';
import { taskCommands } from './tasks.ts';
import { topCommand } from './top.ts';
import { workflowCommands } from './workflows.ts';

/** Adds the commands that talk to a server over HTTP, whichever it is: they know nothing of the rest of the house but its client. */
export function addClientCommands(program: Command, surroundings: Surroundings): void {
  // The words behind `run <type>` are those of the type.
  program.enablePositionalOptions();
  const context = createContext(surroundings);
  loginCommands(program, context);
  runCommand(program, context);
  taskCommands(program, context);
  catalogueCommands(program, context);
  modelCommands(program, context);
  scheduleCommands(program, context);
  webhookCommands(program, context);
  workflowCommands(program, context);
  agentCommands(program, context);
  collectionCommands(program, context);
  documentCommands(program, context);
  topCommand(program, context);
  completionCommand(program);
}
