import type { Board } from './grafana.ts';

const chosen = '{model=~"$model", host=~"$host"}';
const rate = (metric: string) => `rate(${metric}${chosen}[$__rate_interval])`;

/** Models by host, and agents. */
export const MODELS_BOARD: Board = {
  name: 'models',
  title: 'SutazAI: models and agents',
  shows: 'Which hosts answer, how quick models are, what loading them costs, and how agents are.',
  variables: [
    { name: 'model', metric: 'sutazai_model_calls_total' },
    { name: 'host', metric: 'sutazai_model_host_up' },
  ],
  rows: [
    {
      title: 'Hosts',
      panels: [
        {
          title: 'Hosts that answer',
          shows: '0 where no process reaches the host.',
          unit: 'none',
          queries: { '{{host}}': 'max by (host) (sutazai_model_host_up{host=~"$host"})' },
          limits: { atLeast: 1 },
        },
        {
          title: 'Calls under way',
          shows: 'By host; OLLAMA_NUM_PARALLEL is how many a host takes at a time.',
          unit: 'none',
          queries: { '{{host}}': 'sum by (host) (sutazai_model_host_calls{host=~"$host"})' },
        },
        {
          title: 'Breakers',
          shows: '0 closed, 1 half open, 2 open: then nothing is asked of the dependency, and what needs it waits.',
          unit: 'none',
          queries: { '{{dependency}}': 'max by (dependency) (sutazai_breaker_state)' },
          limits: { warn: 1, bad: 2 },
        },
      ],
    },
    {
      title: 'Models',
      panels: [
        {
          title: 'Calls by outcome',
          shows: 'Of all chosen models and hosts together.',
          unit: 'ops',
          stacked: true,
          queries: { '{{outcome}}': `sum by (outcome) (${rate('sutazai_model_calls_total')})` },
        },
        {
          title: 'How long calls take',
          shows: 'The load of the model included.',
          unit: 's',
          queries: {
            '{{model}} half': `histogram_quantile(0.5, sum by (model, le) (${rate('sutazai_model_call_duration_seconds_bucket')}))`,
            '{{model}} 95 of 100': `histogram_quantile(0.95, sum by (model, le) (${rate('sutazai_model_call_duration_seconds_bucket')}))`,
          },
        },
        {
          title: 'Tokens',
          shows: 'A second, by model: `input` was read, `output` was written.',
          unit: 'cps',
          queries: { '{{model}} {{direction}}': `sum by (model, direction) (${rate('sutazai_model_tokens_total')})` },
        },
        {
          title: 'Calls that had to load their model',
          shows:
            'The share of them. Where it is high, models take turns in memory: MODEL_AFFINITY_SECONDS, or one more host.',
          unit: 'percentunit',
          queries: { '{{host}}': 'host:sutazai_model_loads:ratio15m{host=~"$host"}' },
          limits: { bad: 0.5 },
        },
        {
          title: 'Time spent with loading',
          shows: 'Seconds in each second.',
          unit: 's',
          queries: { '{{model}} on {{host}}': `sum by (model, host) (${rate('sutazai_model_load_seconds_total')})` },
        },
        {
          title: 'Calls that failed',
          shows: 'The share of them, by host.',
          unit: 'percentunit',
          queries: { '{{host}}': 'host:sutazai_model_calls_failed:ratio5m{host=~"$host"}' },
          limits: { warn: 0.05, bad: 0.25 },
        },
      ],
    },
    {
      title: 'Agents',
      panels: [
        {
          title: 'Agents by how they are',
          shows: 'Those that are switched on.',
          unit: 'none',
          stacked: true,
          queries: { '{{state}}': 'max by (state) (sutazai_agents)' },
        },
        {
          title: 'Calls by outcome',
          shows: 'Of agents, by their type.',
          unit: 'ops',
          stacked: true,
          queries: {
            '{{agent_type}} {{outcome}}':
              'sum by (agent_type, outcome) (rate(sutazai_agent_calls_total[$__rate_interval]))',
          },
        },
        {
          title: 'How long calls take, 95th percentile',
          shows: 'Of agents, by their type.',
          unit: 's',
          queries: {
            '{{agent_type}}':
              'histogram_quantile(0.95, sum by (agent_type, le) (rate(sutazai_agent_call_duration_seconds_bucket[$__rate_interval])))',
          },
        },
      ],
    },
  ],
};
