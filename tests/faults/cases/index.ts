import type { FaultCase } from '../rig/case.ts';
import { acceptingCases } from './accepting.ts';
import { agentCases } from './agents.ts';
import { backlogCases } from './backlog.ts';
import { batchCases } from './batches.ts';
import { databaseCases } from './database.ts';
import { deployCases } from './deploy.ts';
import { documentCases } from './documents.ts';
import { duplicateCases } from './duplicates.ts';
import { limitCases } from './limits.ts';
import { modelAnswerCases } from './model-answers.ts';
import { modelCases } from './models.ts';
import { redisFullCases } from './redis-full.ts';
import { redisLossCases } from './redis-loss.ts';
import { redisSilenceCases } from './redis-silence.ts';
import { requestCases } from './requests.ts';
import { stoppingCases } from './stopping.ts';
import { vectorCases } from './vectors.ts';
import { webhookCases } from './webhooks.ts';
import { workerLossCases } from './worker-loss.ts';
import { workflowCases } from './workflows.ts';

/** Every case there is. A new one is a value in a file beside this one and stands in its list. */
export const CASES: readonly FaultCase[] = [
  ...acceptingCases,
  ...agentCases,
  ...backlogCases,
  ...documentCases,
  ...batchCases,
  ...duplicateCases,
  ...redisLossCases,
  ...databaseCases,
  ...deployCases,
  ...limitCases,
  ...modelAnswerCases,
  ...modelCases,
  ...redisFullCases,
  ...redisSilenceCases,
  ...requestCases,
  ...stoppingCases,
  ...vectorCases,
  ...webhookCases,
  ...workerLossCases,
  ...workflowCases,
];
