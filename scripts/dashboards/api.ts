import type { Board } from './grafana.ts';

/** Requests, who is not let in, the processes, and the gateway before them. */
export const API_BOARD: Board = {
  name: 'api',
  title: 'SutazAI: API',
  shows: 'Requests by route, problems, who is not let in, the processes themselves, and the gateway before them.',
  variables: [{ name: 'route', metric: 'sutazai_http_requests_total' }],
  rows: [
    {
      title: 'Requests',
      panels: [
        {
          title: 'Requests by route',
          shows: 'Answers a second.',
          unit: 'reqps',
          queries: {
            '{{method}} {{route}}':
              'sum by (method, route) (rate(sutazai_http_requests_total{route=~"$route"}[$__rate_interval]))',
          },
        },
        {
          title: 'Time to the head of the answer, 95th percentile',
          shows: 'By route. Those that wait for a task or a model take as long as these.',
          unit: 's',
          queries: {
            '{{route}}':
              'histogram_quantile(0.95, sum by (route, le) (rate(sutazai_http_request_duration_seconds_bucket{route=~"$route"}[$__rate_interval])))',
          },
        },
        {
          title: 'Answers with 5xx, by route',
          shows: 'A second. The log of the API has each of them with its request id.',
          unit: 'reqps',
          queries: {
            '{{method}} {{route}}':
              'sum by (method, route) (rate(sutazai_http_requests_total{route=~"$route", status_class="5xx"}[$__rate_interval])) or on () vector(0)',
          },
        },
        {
          title: 'Problems by code',
          shows: 'A second; docs/errors.md says what each means.',
          unit: 'reqps',
          stacked: true,
          queries: { '{{code}}': 'sum by (code) (rate(sutazai_http_problems_total[$__rate_interval]))' },
        },
        {
          title: 'Not let in',
          shows: 'A second, by reason: logins and requests. Much of it at once is somebody who guesses.',
          unit: 'reqps',
          stacked: true,
          queries: { '{{reason}}': 'sum by (reason) (rate(sutazai_auth_failures_total[$__rate_interval]))' },
        },
        {
          title: 'Open',
          shows: 'Requests without an answer, those that wait for a task included, and streams.',
          unit: 'none',
          queries: {
            'requests of {{instance}}': 'sutazai_http_requests_in_flight{job="api"}',
            'streams of {{instance}}': 'sutazai_event_streams_open{job="api"}',
          },
        },
      ],
    },
    {
      title: 'Processes',
      panels: [
        {
          title: 'CPU',
          shows: 'Seconds in each second. The main loop of a process has one core.',
          unit: 'percentunit',
          queries: { '{{job}} {{instance}}': 'rate(process_cpu_seconds_total{job=~"api|worker"}[$__rate_interval])' },
        },
        {
          title: 'Memory',
          shows: 'Resident.',
          unit: 'bytes',
          queries: { '{{job}} {{instance}}': 'process_resident_memory_bytes{job=~"api|worker"}' },
        },
        {
          title: 'Lag of the main loop, 99th percentile',
          shows: 'How much later than due it comes to what waits. Everything in the process waits with it.',
          unit: 's',
          queries: { '{{job}} {{instance}}': 'nodejs_eventloop_lag_p99_seconds{job=~"api|worker"}' },
          limits: { bad: 0.5 },
        },
        {
          title: 'Descriptors in use',
          shows: 'The share of those that the process may open.',
          unit: 'percentunit',
          queries: {
            '{{job}} {{instance}}': 'process_open_fds{job=~"api|worker"} / process_max_fds{job=~"api|worker"}',
          },
          limits: { bad: 0.8 },
        },
        {
          title: 'Heap',
          shows: 'What is used of the heap of JavaScript. A saw is well; a line that only rises is a leak.',
          unit: 'bytes',
          queries: { '{{job}} {{instance}}': 'nodejs_heap_size_used_bytes{job=~"api|worker"}' },
        },
        {
          title: 'Up for',
          shows: 'Since the process began.',
          unit: 'dtdurations',
          queries: { '{{job}} {{instance}}': 'time() - process_start_time_seconds{job=~"api|worker"}' },
        },
      ],
    },
    {
      title: 'Gateway',
      panels: [
        {
          title: 'Answers of Kong',
          shows: 'A second, by status. What is here and not above was answered by the gateway itself.',
          unit: 'reqps',
          stacked: true,
          queries: { '{{code}}': 'sum by (code) (rate(kong_http_requests_total[$__rate_interval]))' },
        },
        {
          title: 'Time that Kong itself takes, 95th percentile',
          shows: 'Without the API behind it.',
          unit: 'ms',
          queries: {
            Kong: 'histogram_quantile(0.95, sum by (le) (rate(kong_kong_latency_ms_bucket[$__rate_interval])))',
          },
        },
        {
          title: 'API processes that Kong sends to',
          shows: 'By their state in the eyes of its health checks.',
          unit: 'none',
          queries: { '{{state}}': 'sum by (state) (kong_upstream_target_health{subsystem="http"})' },
        },
      ],
    },
  ],
};
