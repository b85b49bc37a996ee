import { workerData } from 'node:worker_threads';

const { megabytes } = workerData as { megabytes: number };
const parent = process.ppid;

setInterval(() => {
  // Memory outside of the heap, which no limit of V8 counts, is where an unpacked file lies.
  if (process.memoryUsage.rss() > megabytes * 1_000_000) process.kill(process.pid, 'SIGUSR2');
  if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL');
}, 50);
