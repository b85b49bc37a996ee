/** How long a `Retry-After` asks to wait (RFC 9110: seconds or a date), at most `maxMs`; 0 where it says nothing that can be read. */
export function retryAfterMs(header: string | string[] | null | undefined, maxMs: number): number {
  const value = [header].flat()[0];
  if (!value) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), maxMs) : 0;
}
