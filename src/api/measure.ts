import { metrics } from '../telemetry/metrics.ts';

/** Counts an answer of one route, and how long it took in milliseconds. */
export type CountAnswer = (status: number, ms: number) => void;

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Those that are answered by one route, by the pattern of its path. */
export interface Answered {
  route: string;
  count: CountAnswer;
}

/** Makes what counts the answers of a route; its labels are made once. @param route the pattern of the path */
export function answersOf(method: string, route: string): Answered {
  const labels = [0, 1, 2, 3, 4, 5].map((digit) => ({ method, route, status_class: `${digit}xx` }));
  return {
    route,
    count(status, ms) {
      const own = labels[Math.floor(status / 100)];
      if (!own) return;
      metrics.httpRequests.inc(own);
      metrics.httpDuration.observe(own, ms / 1_000);
    },
  };
}

/** Counts what no route answered: one path of a mounted app, or one that is not there, is as any other. */
export function createOtherAnswers(mounts: readonly string[]): (method: string, path: string) => Answered {
  const known = new Map<string, Answered>();
  return (method, path) => {
    const verb = METHODS.includes(method) ? method : 'other';
    const mount = mounts.find((one) => path === one || path.startsWith(`${one}/`));
    const route = mount ? `${mount}/*` : 'none';
    const key = `${verb} ${route}`;
    const made = known.get(key) ?? answersOf(verb, route);
    known.set(key, made);
    return made;
  };
}
