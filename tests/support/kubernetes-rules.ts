import { SETTINGS } from '../../src/settings.ts';
import { type Resource, titleOf } from './kubernetes.ts';
import { podsOf, referenceProblems } from './kubernetes-references.ts';

/** What is wrong with resources by rules that no schema knows: what Kubernetes refuses only in a cluster, and ours. */
export function kubernetesProblems(resources: Resource[]): string[] {
  return [
    ...podsOf(resources).flatMap(({ owner, pod }) =>
      [...restricted(pod), ...containerProblems(owner, pod)].map((problem) => `${titleOf(owner)} ${problem}`),
    ),
    ...referenceProblems(resources),
    ...scalingProblems(resources),
    ...settingProblems(resources),
  ];
}

const containersOf = (pod: Resource): Resource[] => [...(pod.initContainers ?? []), ...pod.containers];

/** The standard `restricted` of Pod Security, and a root that nobody writes to. */
function restricted(pod: Resource): string[] {
  const { securityContext: whole = {} } = pod;
  const allowed = ['configMap', 'emptyDir', 'persistentVolumeClaim', 'projected', 'secret', 'downwardAPI'];
  const volumes = (pod.volumes ?? []).flatMap((volume: object) => Object.keys(volume).filter((key) => key !== 'name'));
  return [
    ...(whole.runAsNonRoot === true && whole.runAsUser > 0 ? [] : ['may run as root']),
    ...(whole.seccompProfile?.type === 'RuntimeDefault' ? [] : ['has no seccomp profile']),
    ...(pod.hostNetwork || pod.hostPID || pod.hostIPC ? ['shares a namespace of its node'] : []),
    ...(pod.automountServiceAccountToken === false ? [] : ['has a token for Kubernetes']),
    ...volumes.filter((kind: string) => !allowed.includes(kind)).map((kind: string) => `has a volume of ${kind}`),
    ...containersOf(pod).flatMap(({ name, securityContext: own = {}, ports = [] }) => [
      ...(own.allowPrivilegeEscalation === false ? [] : [`${name} may gain privileges`]),
      ...(own.capabilities?.drop?.includes('ALL') && !own.capabilities.add ? [] : [`${name} keeps capabilities`]),
      ...(own.readOnlyRootFilesystem === true ? [] : [`${name} may write to its image`]),
      ...(own.privileged || ports.some((port: Resource) => port.hostPort) ? [`${name} reaches into its node`] : []),
    ]),
  ];
}

function containerProblems({ kind }: Resource, pod: Resource): string[] {
  const probed = kind === 'Job' || kind === 'CronJob' ? [] : pod.containers;
  return [
    ...probed.flatMap((container: Resource) => {
      const ports = (container.ports ?? []).map(({ name }: Resource) => name);
      return ['startupProbe', 'livenessProbe', 'readinessProbe'].flatMap((probe) => {
        const asked = container[probe];
        if (!asked) return [`${container.name} has no ${probe}`];
        const port = (asked.httpGet ?? asked.tcpSocket)?.port;
        return port === undefined || ports.includes(port) ? [] : [`${container.name} is probed at no port ${port}`];
      });
    }),
    ...containersOf(pod).flatMap(({ name, image, resources }) => [
      ...(resources?.requests?.cpu && resources.requests.memory && resources.limits?.memory
        ? []
        : [`${name} says not what it needs`]),
      // That of the product gets its version when it is released.
      ...(image === 'sutazai' || /:[^:/]*\d/.test(image) ? [] : [`${name} has an image without a version`]),
    ]),
  ];
}

function scalingProblems(resources: Resource[]): string[] {
  return resources
    .filter(({ kind }) => kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject')
    .flatMap((scaler) => {
      const { spec } = scaler;
      const [least, most] = [spec.minReplicas ?? spec.minReplicaCount, spec.maxReplicas ?? spec.maxReplicaCount];
      const target = resources.find(
        ({ kind, metadata }) => kind === spec.scaleTargetRef.kind && metadata.name === spec.scaleTargetRef.name,
      );
      const keys = (spec.triggers ?? []).map(({ authenticationRef }: Resource) => authenticationRef?.name);
      const known = resources.filter(({ kind }) => kind === 'TriggerAuthentication').map((one) => one.metadata.name);
      return [
        ...(target ? [] : [`scales ${spec.scaleTargetRef.name}, which is not there`]),
        // Each apply would undo what the scaler did.
        ...(target?.spec.replicas === undefined ? [] : [`scales ${target.metadata.name}, which says how many itself`]),
        ...(least >= 1 && least <= most ? [] : [`goes from ${least} to ${most}`]),
        ...keys.filter((key: string) => !known.includes(key)).map((key: string) => `has no authentication ${key}`),
      ].map((problem) => `${titleOf(scaler)} ${problem}`);
    });
}

/** Environment variables of the product are settings, and secrets stand in none of them. */
function settingProblems(resources: Resource[]): string[] {
  const ours = podsOf(resources).flatMap(({ pod }) => containersOf(pod).filter(({ image }) => image === 'sutazai'));
  const named = ours.flatMap(({ env = [] }) => env);
  const settings = resources.filter(({ kind }) => kind === 'ConfigMap').flatMap(({ data }) => Object.keys(data));
  return [...named.map(({ name }: Resource) => name as string), ...settings].flatMap((name) => {
    const setting = name.replace(/_FILE$/, '').replace(/_PREVIOUS$/, '');
    const known = (SETTINGS as Record<string, { secret?: true }>)[name] ? name : setting;
    const { secret } = (SETTINGS as Record<string, { secret?: true }>)[known] ?? {};
    if (!(known in SETTINGS)) return [`${name} is no setting`];
    return secret && !name.endsWith('_FILE') ? [`${name} is a secret in the open`] : [];
  });
}
