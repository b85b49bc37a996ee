import { type Resource, titleOf } from './kubernetes.ts';

/** Secrets that are made by hand, because they are in no file of the repository, with their entries. */
export const SECRETS: Record<string, readonly string[]> = {
  sutazai: [
    ...['database_url', 'redis_url', 'redis_password', 'qdrant_api_key', 'jwt_secret_key', 'jwt_secret_key_previous'],
    ...['encryption_key', 'encryption_key_previous', 'admin_password'],
  ],
  'sutazai-keda': ['api_key'],
  'sutazai-tls': ['tls.crt', 'tls.key'],
};

/** The pods that resources make, each with who makes it. */
export function podsOf(
  resources: Resource[],
): Array<{ owner: Resource; pod: Resource; labels: Record<string, string> }> {
  return resources.flatMap((owner) => {
    const { template } = owner.spec?.jobTemplate?.spec ?? owner.spec ?? {};
    return template?.spec?.containers ? [{ owner, pod: template.spec, labels: template.metadata.labels }] : [];
  });
}

/** Whether a label selector means a pod with these labels. */
export function selects(
  { matchLabels = {}, matchExpressions = [] }: Resource,
  labels: Record<string, string>,
): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, values }: Resource) => values.includes(labels[key]))
  );
}

/** Names and labels that lead nowhere. Kubernetes takes all of them, and waits. */
export function referenceProblems(resources: Resource[]): string[] {
  const pods = podsOf(resources);
  const maps = resources.filter(({ kind }) => kind === 'ConfigMap').map(({ metadata }) => metadata.name);
  const accounts = resources.filter(({ kind }) => kind === 'ServiceAccount').map(({ metadata }) => metadata.name);
  const twice = resources.map(titleOf).filter((title, index, all) => all.indexOf(title) !== index);
  return [
    ...twice.map((title) => `${title} is there twice`),
    ...pods.flatMap(({ owner, pod }) => podProblems(owner, pod, maps, accounts)),
    ...resources.flatMap((resource) =>
      selectorsOf(resource)
        .filter((selector) => !pods.some(({ labels }) => selects(selector, labels)))
        .map((selector) => `${titleOf(resource)} means pods that are not there: ${JSON.stringify(selector)}`),
    ),
    ...resources.filter(({ kind }) => kind === 'Service').flatMap((service) => portProblems(service, pods)),
  ];
}

function podProblems(owner: Resource, pod: Resource, maps: string[], accounts: string[]): string[] {
  const containers: Resource[] = [...(pod.initContainers ?? []), ...pod.containers];
  const claims = (owner.spec.volumeClaimTemplates ?? []).map(({ metadata }: Resource) => metadata.name);
  const volumes = [...(pod.volumes ?? []).map(({ name }: Resource) => name), ...claims];
  const mounted = containers.flatMap(({ volumeMounts = [] }) => volumeMounts.map(({ name }: Resource) => name));
  const refs = containers.flatMap(({ envFrom = [] }) => envFrom.map((from: Resource) => from.configMapRef?.name));
  const wanted: Array<[string, string | undefined]> = [
    ...(pod.volumes ?? []).flatMap(({ secret }: Resource) =>
      secret ? (secret.items ?? [{}]).map(({ key }: Resource) => [secret.secretName, key]) : [],
    ),
    ...containers.flatMap(({ env = [] }) =>
      env.flatMap(({ valueFrom }: Resource) =>
        valueFrom?.secretKeyRef ? [[valueFrom.secretKeyRef.name, valueFrom.secretKeyRef.key]] : [],
      ),
    ),
  ];
  const title = titleOf(owner);
  return [
    ...mounted.filter((name) => !volumes.includes(name)).map((name) => `${title} mounts no volume ${name}`),
    ...volumes.filter((name) => !mounted.includes(name)).map((name) => `${title} uses the volume ${name} nowhere`),
    ...refs.filter((name) => !maps.includes(name)).map((name) => `${title} reads no ConfigMap ${name}`),
    ...(accounts.includes(pod.serviceAccountName) ? [] : [`${title} has no account ${pod.serviceAccountName}`]),
    ...wanted
      .filter(([name, key]) => !(SECRETS[name] && (key === undefined || SECRETS[name].includes(key))))
      .map(([name, key]) => `${title} reads no secret ${name}/${key}`),
    ...secretPathProblems(title, owner, pod),
  ];
}

/** Variables that name a file of /run/secrets, where nothing of that name is mounted. */
function secretPathProblems(title: string, owner: Resource, pod: Resource): string[] {
  const mounted = new Set(
    (pod.volumes ?? []).flatMap(({ secret }: Resource) => (secret?.items ?? []).map(({ path }: Resource) => path)),
  );
  return [...(pod.initContainers ?? []), ...pod.containers]
    .flatMap(({ env = [] }: Resource) => env.map(({ value = '' }: Resource) => value))
    .map((value: string) => /^\/run\/secrets\/([\w.]+)$/.exec(value)?.[1])
    .filter((name: string | undefined) => name !== undefined && !mounted.has(name))
    .map((name: string | undefined) => `${title} has no file /run/secrets/${name} (${owner.kind})`);
}

function selectorsOf({ kind, spec }: Resource): Resource[] {
  if (kind === 'Service') return [{ matchLabels: spec.selector }];
  if (kind === 'PodDisruptionBudget' || kind === 'PodMonitor') return [spec.selector];
  if (kind === 'Deployment' || kind === 'StatefulSet') return [spec.selector];
  if (kind !== 'NetworkPolicy') return [];
  const peers = [
    ...(spec.ingress ?? []).flatMap(({ from = [] }) => from),
    ...(spec.egress ?? []).flatMap(({ to = [] }) => to),
  ];
  return [
    spec.podSelector,
    ...peers.filter((peer) => !peer.namespaceSelector).map(({ podSelector }) => podSelector),
  ].filter(Boolean);
}

function portProblems(service: Resource, pods: ReturnType<typeof podsOf>): string[] {
  const meant = pods.filter(({ labels }) => selects({ matchLabels: service.spec.selector }, labels));
  const open = meant.flatMap(({ pod }) => pod.containers.flatMap(({ ports = [] }: Resource) => ports));
  return service.spec.ports
    .filter(({ targetPort }: Resource) => !open.some(({ name }: Resource) => name === targetPort))
    .map(({ targetPort }: Resource) => `${titleOf(service)} leads to no port ${targetPort}`);
}
