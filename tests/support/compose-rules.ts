import { OWN_SETTINGS } from '../../scripts/render-kong.mjs';
import { SETTINGS } from '../../src/settings.ts';

/** What we read of a service of docker-compose.yml, after its anchors are resolved. */
export interface Service {
  image: string;
  build?: string;
  command?: string[];
  environment?: Record<string, string>;
  secrets?: string[];
  networks?: string[];
  volumes?: string[];
  ports?: string[];
  healthcheck?: { disable?: boolean; test?: unknown };
  depends_on?: Record<string, { condition: string }>;
}

export interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean }>;
  volumes: Record<string, unknown>;
  secrets: Record<string, { file: string }>;
}

/** The only service that may be reached from outside. */
const GATEWAY = 'kong';

/** What is wrong with a compose file, by the rules of Compose that a parser does not see, and by ours. */
export function composeProblems(compose: Compose): string[] {
  return Object.entries(compose.services).flatMap(([name, service]) =>
    [
      ...undefinedNames(compose, service),
      ...waits(compose, service),
      ...(service.build ? settingProblems(service) : []),
      ...(service.ports && name !== GATEWAY ? ['publishes a port'] : []),
      ...(Object.keys(service.environment ?? {}).some(looksSecret) ? ['holds a secret in its environment'] : []),
    ].map((problem) => `${name} ${problem}`),
  );
}

function undefinedNames({ networks, volumes, secrets }: Compose, service: Service): string[] {
  const named = (service.volumes ?? [])
    .map((volume) => volume.split(':')[0] as string)
    .filter((one) => !/^[./]/.test(one));
  return [
    ...(service.networks ?? []).filter((one) => !(one in networks)).map((one) => `is on no network ${one}`),
    ...(service.secrets ?? []).filter((one) => !(one in secrets)).map((one) => `reads no secret ${one}`),
    ...named.filter((one) => !(one in volumes)).map((one) => `mounts no volume ${one}`),
    ...(service.networks ? [] : ['is on the default network']),
  ];
}

/** Every start waits for what it needs: the other has to be healthy, or to have ended well where it is a single step. */
function waits({ services }: Compose, service: Service): string[] {
  return Object.entries(service.depends_on ?? {}).flatMap(([other, { condition }]) => {
    const target = services[other];
    if (!target) return [`waits for ${other}, which is not there`];
    if (condition === 'service_completed_successfully') return [];
    if (condition !== 'service_healthy') return [`does not wait until ${other} is healthy`];
    // An image of ours brings a health check; of the others we cannot know.
    const checked = target.healthcheck ? !target.healthcheck.disable : Boolean(target.build);
    return checked ? [] : [`waits for the health of ${other}, which has no health check`];
  });
}

function settingProblems({ environment = {}, secrets = [] }: Service): string[] {
  return Object.entries(environment).flatMap(([variable, value]) => {
    const name = variable.replace(/_FILE$/, '');
    const setting = OWN_SETTINGS.includes(name)
      ? { secret: true }
      : (SETTINGS[name as keyof typeof SETTINGS] as { secret?: true } | undefined);
    if (!setting) return [`sets ${variable}, which is no setting`];
    if (name === variable) return [];
    if (!setting.secret) return [`sets ${variable}, but ${name} is no secret`];
    return secrets.some((secret) => value === `/run/secrets/${secret}`) ? [] : [`reads ${value} without that secret`];
  });
}

function looksSecret(variable: string): boolean {
  return /(PASSWORD|SECRET|KEY|TOKEN)$/.test(variable) || /^(DATABASE|REDIS)_URL$/.test(variable);
}
