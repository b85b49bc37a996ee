// Fills the placeholders of kong.yml in from the environment: node scripts/render-kong.mjs <template> <result>
// Plain JavaScript without dependencies and imports of ours, so that it can be mounted alone beside the gateway.
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** As in src/settings.ts; a test compares them. */
export const DEFAULTS = { JWT_ALGORITHM: 'HS256', MAX_BODY_BYTES: '1048576', MAX_FILE_BYTES: '104857600' };

/** What a form has besides its file, as in src/api/upload.ts; a test compares them. */
export const FORM_OVERHEAD_BYTES = 65_536;

/** Read here alone: the key that JWT_SECRET_KEY takes the place of, and which APIs get how much. */
export const OWN_SETTINGS = ['JWT_SECRET_KEY_PREVIOUS', 'API_WEIGHTS'];

/** One set of APIs. */
const WEIGHTS = 'api:3000=100';

/**
 * Replaces each `${NAME}` by the variable, or by what is in the file that `NAME_FILE` names.
 * @throws Error that names everything missing, or a placeholder that is left
 */
export function renderKong(template, env) {
  const missing = new Set();
  const computed = { ...keysOf(env), MAX_UPLOAD_BYTES: uploadBytes(env), API_TARGETS: targets(env) };
  const written = origins(env);
  const rendered = template.replaceAll(/\$\{([A-Z][A-Z0-9_]*)\}/g, (_, name) => {
    if (name in written) return JSON.stringify(written[name]);
    const value = computed[name] ?? (read(env, name) || DEFAULTS[name]);
    if (value === undefined) missing.add(`${name} (or ${name}_FILE)`);
    // The text of a YAML string in double quotes, which JSON's are.
    return JSON.stringify(value ?? '').slice(1, -1);
  });
  if (missing.size > 0) throw new Error(`The gateway cannot be configured: set ${[...missing].join(', ')}.`);
  const left = rendered.indexOf('${');
  if (left >= 0) {
    const line = rendered.slice(0, left).split('\n').length;
    throw new Error(`Line ${line} still holds a placeholder that is not of the form \${NAME}.`);
  }
  return rendered;
}

/** The two keys of tokens and their names. Where there is no previous one, it is one that nobody has, so it opens nothing. */
function keysOf(env) {
  const present = read(env, 'JWT_SECRET_KEY');
  const given = read(env, 'JWT_SECRET_KEY_PREVIOUS');
  const previous = given && given !== present ? given : randomBytes(32).toString('base64');
  return {
    JWT_KEY_ID: kidOf(present ?? ''),
    JWT_SECRET_KEY_PREVIOUS: previous,
    JWT_PREVIOUS_KEY_ID: kidOf(previous),
  };
}

/** `host:port=weight`, several of them with commas between, as targets of Kong. */
function targets(env) {
  const entries = (read(env, 'API_WEIGHTS') || WEIGHTS).split(',').map((entry) => {
    const [, target, weight] = /^\s*([a-zA-Z0-9_.-]+:\d{1,5})=(\d{1,4})\s*$/.exec(entry) ?? [];
    return { target, weight: Number(weight) };
  });
  if (entries.some(({ target }) => target === undefined) || entries.every(({ weight }) => weight === 0))
    throw new Error(
      'The gateway cannot be configured: API_WEIGHTS wants host:port=weight, such as api:3000=100,api-green:3000=0, and one weight above 0.',
    );
  return `[${entries.map(({ target, weight }) => `{ target: ${target}, weight: ${weight} }`).join(', ')}]`;
}

function uploadBytes(env) {
  const fileBytes = read(env, 'MAX_FILE_BYTES') || DEFAULTS.MAX_FILE_BYTES;
  if (!/^\d+$/.test(fileBytes)) throw new Error('The gateway cannot be configured: MAX_FILE_BYTES is no whole number.');
  return String(Number(fileBytes) + FORM_OVERHEAD_BYTES);
}

/** What is written as it is, not as the text of a string: the origins of pages that may call, and whether there are any. */
function origins(env) {
  const list = (read(env, 'CORS_ORIGINS') ?? '').split(',').map((one) => one.trim());
  const named = list.filter((one) => one !== '');
  return { CORS_ORIGIN_LIST: named, CORS_ENABLED: named.length > 0 };
}

/** As in src/api/auth/signing-keys.ts; a test compares them. */
function kidOf(secret) {
  return createHash('sha256').update(secret).digest('hex').slice(0, 12);
}

function read(env, name) {
  const file = env[`${name}_FILE`];
  // Trimmed like src/config.ts does it: editors put a line break at the end.
  return file ? readFileSync(file, 'utf8').trim() : env[name];
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [template, result] = process.argv.slice(2);
  try {
    if (!template || !result) throw new Error('Usage: node scripts/render-kong.mjs <template> <result>');
    writeFileSync(result, renderKong(readFileSync(template, 'utf8'), process.env));
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
