import { Command, type Option } from 'commander';
import { parse } from 'yaml';
import { addClientCommands } from '../../src/cli/index.ts';
import { filesUnder, readText } from './sources.ts';

/** A command of a page, as somebody would type it. */
export interface Line {
  page: string;
  text: string;
}

/** Everything that pages tell to type: lines of code blocks, and spans that begin with a program. */
export function commandsOf(pages = filesUnder('docs/runbooks', /\.md$/)): Line[] {
  return pages.flatMap((page) => {
    const text = readText(page);
    const blocks = [...text.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block = '']) => block.split('\n'));
    const spans = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
    const typed = spans.filter((span) => /^(sutazai|docker|curl|sh|npm|promtool|amtool) /.test(span));
    return [...blocks, ...typed.map((span) => span.replaceAll('\\|', '|'))]
      .filter((line) => line.trim() !== '' && !line.includes('…'))
      .map((line) => ({ page, text: line }));
  });
}

/** The first group of a pattern in each command that has it. */
export function within(lines: Line[], pattern: RegExp): Line[] {
  return lines.flatMap(({ page, text }) => {
    const found = pattern.exec(text)?.[1];
    return found ? [{ page, text: found }] : [];
  });
}

/** What a command over HTTP says that the command line does not know: a command, or an option of it. */
export function unknownToCli({ page, text }: Line): string[] {
  const [, ...words] = text.split(/[|>]/)[0]?.trim().split(/\s+/) ?? [];
  let command: Command = new Command('sutazai');
  addClientCommands(command, { config: () => ({}) as never, findLocal: async () => undefined });
  while (command.commands.length > 0) {
    const next = command.commands.find((one) => one.name() === words[0]);
    if (!next) break;
    command = next;
    words.shift();
  }
  // Those of a server are held by another test.
  if (command.name() === 'sutazai')
    return /^(migrate|backup|restore|secrets|api|worker|start|demo)$/.test(words[0] ?? '') ? [] : [text];
  const known = command.options.map(({ long }: Option) => long);
  return words
    .filter((word) => word.startsWith('--') && !known.includes(word))
    .map((word) => `${page}: ${text}: ${word}`);
}

const COMPOSE = /docker compose (?:(--profile) \S+ )?(exec|logs|ps|restart|up|stop|run|rm|kill)\s+(.*)/;
const WITH_VALUE = /^--(since|tail|scale|format|profile|signal)$|^-s$/;

/** Services of Compose that a command names and that are not there. */
export function unknownServices({ page, text }: Line): string[] {
  const found = COMPOSE.exec(text.replace(/\$\([^)]*\)/g, ''));
  if (!found) return [];
  const [, , verb, rest = ''] = found;
  const words = (rest.split(/ [|>] |,|;| && /)[0] ?? '').trim().split(/\s+/).filter(Boolean);
  const named = words.filter((word, at) => !word.startsWith('-') && !WITH_VALUE.test(words[at - 1] ?? ''));
  const services = verb === 'exec' || verb === 'run' ? named.slice(0, 1) : named;
  const known = [...servicesOfCompose(), ...servicesOfMonitoring()];
  return services
    .filter((name) => !known.includes(name) && !/^[A-Z_]+$/.test(name))
    .map((name) => `${page}: ${text}: no service ${name}`);
}

const servicesOfCompose = () =>
  Object.keys((parse(readText('docker-compose.yml'), { merge: true }) as { services: object }).services);

/** Prometheus and Alertmanager, and the services that are scraped by name. */
function servicesOfMonitoring(): string[] {
  const { scrape_configs } = parse(readText('deploy/monitoring/prometheus/prometheus.yml')) as {
    scrape_configs: Array<{ job_name: string; dns_sd_configs?: Array<{ names: string[] }> }>;
  };
  const names = scrape_configs.flatMap(({ dns_sd_configs = [] }) => dns_sd_configs.flatMap((one) => one.names));
  return [...names, 'prometheus', 'alertmanager'];
}
