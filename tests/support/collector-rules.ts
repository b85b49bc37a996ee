/** A configuration of the OpenTelemetry collector, as far as we read it. */
export interface Collector {
  receivers?: Components;
  processors?: Components;
  exporters?: Components;
  connectors?: Components;
  extensions?: Components;
  service: {
    extensions?: string[];
    pipelines: Record<string, { receivers?: string[]; processors?: string[]; exporters?: string[] }>;
  };
}
type Components = Record<string, unknown>;
const KINDS = ['receivers', 'processors', 'exporters'] as const;

/** What the collector itself refuses, or takes and does not do: names of nothing, parts of no pipeline, and the order of processors. */
export function collectorProblems(config: Collector): string[] {
  const { pipelines, extensions = [] } = config.service;
  const connectors = Object.keys(config.connectors ?? {});
  const used = new Set<string>();
  const problems = Object.entries(pipelines).flatMap(([name, pipeline]) => [
    ...(/^(traces|metrics|logs)(\/[\w-]+)?$/.test(name) ? [] : [`${name} is no kind of pipeline`]),
    ...KINDS.flatMap((kind) => {
      const known = [...Object.keys(config[kind] ?? {}), ...(kind === 'processors' ? [] : connectors)];
      const named = pipeline[kind] ?? [];
      for (const one of named) used.add(`${kind} ${one}`);
      return [
        ...named.filter((one) => !known.includes(one)).map((one) => `${name} has no ${kind} ${one}`),
        ...(named.length === 0 && kind !== 'processors' ? [`${name} has no ${kind}`] : []),
      ];
    }),
    ...((pipeline.processors ?? []).indexOf('memory_limiter') > 0 ? [`${name} limits its memory too late`] : []),
  ]);
  const unused = KINDS.flatMap((kind) =>
    Object.keys(config[kind] ?? {})
      .filter((one) => !used.has(`${kind} ${one}`))
      .map((one) => `nothing uses the ${kind} ${one}`),
  );
  const loose = connectors.filter((one) => !used.has(`exporters ${one}`) || !used.has(`receivers ${one}`));
  return [
    ...problems,
    ...unused,
    ...loose.map((one) => `the connector ${one} connects nothing`),
    ...extensions.filter((one) => !(one in (config.extensions ?? {}))).map((one) => `there is no extension ${one}`),
  ];
}
