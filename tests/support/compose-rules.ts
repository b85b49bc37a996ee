import { OWN_SETTINGS } from '../../scripts/render-kong.mjs';
import { SETTINGS } from '../../src/settings.ts';

/** What we read of a service of docker-compose.yml, after its anchors are resolved. */
export interface Service {
  image: string;
  profiles?: string[];
  build?: string | { context: string; target: string };
  init?: boolean;
  read_only?: boolean;
  cap_drop?: string[];
  security_opt?: string[];
  command?: string[];
  environment?: Record<string, string>;
  secrets?: string[];
  networks?: string[] | Record<string, { aliases?: string[] }>;
  volumes?: string[];
  ports?: string[];
  healthcheck?: { disable?: boolean; test?: unknown };
  depends_on?: Record<string, { condition: string; required?: boolean }>;
  deploy?: { replicas?: number };
}

export interface Compose {
  services: Record<string, Service>;
  networks: Record<string, { internal?: boolean }>;
  volumes: Record<string, unknown>;
  secrets: Record<string, { file: string }>;
}

/** The only service that may be reached from outside. */
const GATEWAY = 'kong';
const PROFILES = ['core', 'gpu', 'monitoring', 'green', 'tools'];
/** What is started with a profile, and never without it. */
const BASE: Record<string, string> = { green: 'core', tools: 'core' };
const DEVELOPMENT = /^127\.0\.0\.1:/;

/** The networks of a service, in either of the two ways to write them. */
export const networksOf = ({ networks = [] }: Service) => (Array.isArray(networks) ? networks : Object.keys(networks));

/**
 * What is wrong with a compose file, by the rules of Compose that a schema does not see, and by ours. With `development` a
 * service may have a port that this machine alone reaches.
 */
export function composeProblems(compose: Compose, { development = false } = {}): string[] {
  return Object.entries(compose.services).flatMap(([name, service]) =>
    [
      ...undefinedNames(compose, service),
      ...profileProblems(service),
      ...waits(compose, service),
      ...(service.build ? [...settingProblems(service), ...hardening(service)] : []),
      ...(/:[^:/]*\d/.test(service.image) ? [] : ['has an image without a version']),
      ...(isReachable(service, development) && name !== GATEWAY ? ['publishes a port'] : []),
      ...(Object.keys(service.environment ?? {}).some(looksSecret) ? ['holds a secret in its environment'] : []),
    ].map((problem) => `${name} ${problem}`),
  );
}

function isReachable({ ports = [] }: Service, development: boolean): boolean {
  return ports.some((port) => !(development && DEVELOPMENT.test(port)));
}

function undefinedNames({ networks, volumes, secrets }: Compose, service: Service): string[] {
  const named = (service.volumes ?? [])
    .map((volume) => volume.split(':')[0] as string)
    .filter((one) => !/^[./]/.test(one));
  const on = networksOf(service);
  return [
    ...on.filter((one) => !(one in networks)).map((one) => `is on no network ${one}`),
    ...(service.secrets ?? []).filter((one) => !(one in secrets)).map((one) => `reads no secret ${one}`),
    ...named.filter((one) => !(one in volumes)).map((one) => `mounts no volume ${one}`),
    ...(on.length > 0 ? [] : ['is on the default network']),
    // Docker publishes nothing of a container that is on internal networks alone, and says nothing.
    ...(service.ports && on.every((one) => networks[one]?.internal) ? ['publishes a port on no open network'] : []),
  ];
}

function profileProblems({ profiles = [] }: Service): string[] {
  if (profiles.length === 0) return ['is in no profile'];
  return profiles.filter((one) => !PROFILES.includes(one)).map((one) => `is in the profile ${one}, which is unknown`);
}

/** Every start waits for what it needs: the other has to be healthy, or to have ended well where it is a single step. */
function waits({ services }: Compose, service: Service): string[] {
  return Object.entries(service.depends_on ?? {}).flatMap(([other, { condition, required = true }]) => {
    const target = services[other];
    if (!target) return [`waits for ${other}, which is not there`];
    const absent = (service.profiles ?? []).filter((profile) => !target.profiles?.includes(BASE[profile] ?? profile));
    if (required && absent.length > 0) return [`waits for ${other}, which is not in the profile ${absent.join()}`];
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

/** What a container of ours may not do, because it has no need to. */
function hardening(service: Service): string[] {
  return [
    ...(service.init ? [] : ['has no init']),
    ...(service.read_only ? [] : ['may write to its image']),
    ...(service.cap_drop?.includes('ALL') ? [] : ['keeps capabilities']),
    ...(service.security_opt?.includes('no-new-privileges:true') ? [] : ['may gain privileges']),
  ];
}

function looksSecret(variable: string): boolean {
  return /(PASSWORD|SECRET|KEY|TOKEN)$/.test(variable) || /^(DATABASE|REDIS)_URL$/.test(variable);
}
