import type { Board } from './grafana.ts';

/** What waits, what runs, and what comes of it. */
export const LANES_BOARD: Board = {
  name: 'lanes',
  title: 'SutazAI: lanes',
  shows:
    'What waits in each lane, who works on it, how long it takes and what comes of it. The lane webhook counts deliveries.',
  variables: [{ name: 'lane', metric: 'sutazai_queue_tasks' }],
  rows: [
    {
      title: 'Waiting',
      panels: [
        {
          title: 'Tasks by status',
          shows: 'Those that have not ended.',
          unit: 'short',
          stacked: true,
          queries: { '{{lane}} {{status}}': 'max by (lane, status) (sutazai_queue_tasks{lane=~"$lane"})' },
        },
        {
          title: 'Oldest that waits',
          shows: 'How long it has been due. It grows where nobody takes tasks; of a lane that works it is its line.',
          unit: 's',
          queries: { '{{lane}}': 'lane:sutazai_queue_oldest_pending_seconds:max{lane=~"$lane"}' },
        },
        {
          title: 'Wait of those that begin',
          shows: 'From when an attempt might have begun until a worker took it.',
          unit: 's',
          queries: {
            '{{lane}} half': 'lane:sutazai_task_wait_seconds:p50_5m{lane=~"$lane"}',
            '{{lane}} 95 of 100': 'lane:sutazai_task_wait_seconds:p95_5m{lane=~"$lane"}',
          },
        },
      ],
    },
    {
      title: 'At work',
      panels: [
        {
          title: 'Slots in use',
          shows:
            'The share of what all workers of a lane run at a time. At 100 % for long, and with tasks that wait: more workers.',
          unit: 'percentunit',
          queries: { '{{lane}}': 'lane:sutazai_queue_slots_used:ratio{lane=~"$lane"}' },
          limits: { bad: 1 },
        },
        {
          title: 'Workers',
          shows: 'Processes that serve the lane.',
          unit: 'none',
          queries: { '{{lane}}': 'lane:sutazai_queue_workers:max{lane=~"$lane"}' },
        },
        {
          title: 'Paused',
          shows: '1 where an operator paused the lane: `sutazai queues resume` lets it go on.',
          unit: 'none',
          queries: { '{{lane}}': 'max by (lane) (sutazai_queue_paused{lane=~"$lane"})' },
          limits: { bad: 1 },
        },
        {
          title: 'How long attempts run, 95th percentile',
          shows: 'From the claim to the outcome, by type.',
          unit: 's',
          queries: {
            '{{type}}':
              'histogram_quantile(0.95, sum by (type, le) (rate(sutazai_task_run_seconds_bucket{lane=~"$lane"}[$__rate_interval])))',
          },
        },
        {
          title: 'Attempts by outcome',
          shows: '`retry` failed and is tried again; `released` found its dependency away or full and does not count.',
          unit: 'ops',
          stacked: true,
          queries: {
            '{{outcome}}': 'sum by (outcome) (rate(sutazai_attempts_total{lane=~"$lane"}[$__rate_interval]))',
          },
        },
        {
          title: 'Errors of attempts',
          shows: 'By code; docs/errors.md says what each means.',
          unit: 'ops',
          stacked: true,
          queries: { '{{code}}': 'sum by (code) (rate(sutazai_attempt_errors_total[$__rate_interval]))' },
        },
      ],
    },
    {
      title: 'Webhooks',
      panels: [
        {
          title: 'Deliveries by outcome',
          shows: 'Attempts of them; `retry` failed and is tried again.',
          unit: 'ops',
          stacked: true,
          queries: { '{{outcome}}': 'sum by (outcome) (rate(sutazai_webhook_deliveries_total[$__rate_interval]))' },
        },
        {
          title: 'How long receivers take',
          shows: 'Of all receivers together.',
          unit: 's',
          queries: {
            'half of them':
              'histogram_quantile(0.5, sum by (le) (rate(sutazai_webhook_delivery_duration_seconds_bucket[$__rate_interval])))',
            '95 of 100':
              'histogram_quantile(0.95, sum by (le) (rate(sutazai_webhook_delivery_duration_seconds_bucket[$__rate_interval])))',
          },
        },
        {
          title: 'Endpoints switched off',
          shows: 'Within an hour, by reason.',
          unit: 'none',
          queries: { '{{reason}}': 'sum by (reason) (increase(sutazai_webhooks_disabled_total[1h]))' },
        },
      ],
    },
    {
      title: 'Repair',
      panels: [
        {
          title: 'What the reconciler repairs',
          shows:
            '`rescued` were of lost workers, `rebuilt` had lost their job. `promoted`, `expired` and `forgotten` are everyday work.',
          unit: 'ops',
          stacked: true,
          queries: { '{{kind}}': 'sum by (kind) (rate(sutazai_reconciler_repairs_total[$__rate_interval]))' },
        },
        {
          title: 'Rounds of the reconciler',
          shows: 'One every two seconds, of all processes together.',
          unit: 'ops',
          queries: { rounds: 'sum(rate(sutazai_reconciler_rounds_total[$__rate_interval]))' },
        },
        {
          title: 'Late outcomes, and poison',
          shows:
            'Outcomes that changed nothing because their worker had been taken for lost; tasks that lost three workers.',
          unit: 'none',
          queries: {
            'late outcomes': 'sum(increase(sutazai_settles_fenced_total[1h]))',
            poison: 'sum(increase(sutazai_reconciler_repairs_total{kind="poisoned"}[1h]))',
          },
        },
      ],
    },
  ],
};
