/** What Prometheus would have read: the value of one series, 0 where it is not there. */
export function sampleOf(text: string, name: string, labels: Record<string, string> = {}): number {
  const line = text
    .split('\n')
    .filter((one) => one.startsWith(`${name}{`) || one.startsWith(`${name} `))
    .find((one) => Object.entries(labels).every(([label, value]) => one.includes(`${label}="${value}"`)));
  return Number(line?.slice(line.lastIndexOf(' ')) ?? 0);
}
