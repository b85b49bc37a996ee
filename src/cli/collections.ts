import { type Command, Option } from 'commander';
import type { Collection } from '../client/index.ts';
import { act, type Context } from './context.ts';
import { readNumber } from './flags.ts';
import { OBJECT, readObject } from './input.ts';
import { note, oneLine, paint, say, sayJson, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';
const HEAD = ['NAME', 'MODEL', 'DIMENSIONS', 'DISTANCE', 'POINTS'];

const rowOf = ({ name, embedding_model, dimensions, distance, points }: Collection) => [
  name,
  embedding_model ?? '(own vectors)',
  String(dimensions ?? ''),
  distance,
  points === null ? paint('yellow', 'unknown') : String(points),
];

/** `collections …`: points that are alike, and what is nearest to a text. */
export function collectionCommands(program: Command, context: Context): void {
  const collections = program.command('collections').description('texts and vectors, found by what is alike');

  collections
    .command('list')
    .description('your collections, newest first')
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai collections list')
    .action(
      act(context, async ({ json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().collections.list()) {
          if (json) sayJson(one);
          rows.push(rowOf(one));
        }
        if (!json) say(table(HEAD, rows).join('\n'));
      }),
    );

  collections
    .command('show')
    .description('a collection, and how many points it has')
    .argument('<name>', 'the name of a collection')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai collections show notes')
    .action(
      act(context, async (name: string, { json }) => {
        const one = await context.client().collections.get(name);
        if (json) return sayJson(one);
        say(table(HEAD, [rowOf(one)]).join('\n'));
      }),
    );

  collections
    .command('create')
    .description('make a collection of one embedding model, or of your own vectors')
    .argument('<name>', 'letters, digits, dots, dashes and underscores')
    .option('--embedding-model <model>', 'what makes vectors of texts; the usual one where it is not given')
    .addOption(
      new Option('--own-vectors', 'no model: points come with vectors of your own making').conflicts('embeddingModel'),
    )
    .option('--dimensions <count>', 'how long those are; the first ones decide where it is not given', readNumber)
    .addOption(new Option('--distance <how>', 'how vectors are compared').choices(['Cosine', 'Dot', 'Euclid']))
    .option('--json', 'one JSON value')
    .addHelpText(
      'after',
      '\nExamples:\n  sutazai collections create notes\n  sutazai collections create raw --own-vectors',
    )
    .action(
      act(context, async (name: string, { embeddingModel, ownVectors, dimensions, distance, json }) => {
        const made = await context.client().collections.create({
          ...{ name, dimensions, distance },
          embedding_model: ownVectors ? null : embeddingModel,
        });
        if (json) return sayJson(made);
        say(made.name);
        const point = made.embedding_model ? '{"text": "…"}' : '{"vector": […]}';
        note(`\`sutazai run vector.upsert --collection ${made.name} --points '[${point}]'\` puts something into it.`);
      }),
    );

  collections
    .command('delete')
    .description('delete a collection with everything in it')
    .argument('<name>', 'the name of a collection')
    .addHelpText('after', '\nExample:\n  sutazai collections delete notes')
    .action(
      act(context, async (name: string) => {
        await context.client().collections.delete(name);
        say(`${name} is deleted`);
      }),
    );

  collections
    .command('search')
    .description('what is nearest to a text, the nearest first')
    .argument('<name>', 'the name of a collection')
    .argument('<words...>', 'the text')
    .addOption(
      new Option('--mode <how>', 'by likeness, by the words of documents, or by both').choices([
        'vector',
        'text',
        'hybrid',
      ]),
    )
    .option('--limit <count>', 'how many at most', readNumber)
    .option('--threshold <score>', 'the score that a hit has to have', readNumber)
    .option('--filter <json>', `what it has to be besides, in Qdrant's words: ${OBJECT}`)
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai collections search notes where can I make tea --limit 3')
    .action(
      act(context, async (name: string, words: string[], { mode, limit, threshold, filter, json }) => {
        const hits = await context.client().collections.search(name, {
          ...{ query: words.join(' '), mode, limit, score_threshold: threshold },
          ...(filter === undefined ? {} : { filter: await readObject(filter, '--filter') }),
        });
        if (json) return hits.forEach(sayJson);
        if (hits.length === 0) return note('Nothing is found.');
        const rows = hits.map(({ id, score, text, payload }) => [
          score.toFixed(3),
          oneLine(String(id), 40),
          oneLine(text ?? JSON.stringify(payload), 100),
        ]);
        say(table(['SCORE', 'ID', 'TEXT'], rows).join('\n'));
      }),
    );
}
