import { createReadStream, openAsBlob, statSync } from 'node:fs';
import { basename } from 'node:path';
import { blob } from 'node:stream/consumers';
import type { Command } from 'commander';
import { type DocumentInfo, type NewDocument, type Sutazai, SutazaiError } from '../client/index.ts';
import { UsageError } from '../errors.ts';
import { createBar } from './bar.ts';
import { act, type Context, forEach } from './context.ts';
import { readNumber } from './flags.ts';
import { follow } from './follow.ts';
import { OBJECT, readObject } from './input.ts';
import { endOf } from './run.ts';
import { ago, harmless, note, oneLine, paintStatus, say, sayJson, table } from './terminal.ts';

const JSON_LINES = 'one JSON value a line';
const COLLECTION = 'the name of a collection';
const HEAD = ['ID', 'TITLE', 'SOURCE', 'STATUS', 'CHUNKS', 'CHANGED'];

const rowOf = ({ id, title, source, status, chunks, chunks_embedded, updated_at }: DocumentInfo) => [
  id,
  oneLine(title ?? '', 40),
  oneLine(source ?? '', 40),
  paintStatus(status),
  status === 'ready' ? String(chunks) : `${chunks_embedded} of ${chunks}`,
  ago(updated_at),
];

interface IngestOptions {
  collection: string;
  title?: string;
  contentType?: string;
  metadata?: string;
  chunkTokens?: number;
  overlapTokens?: number;
  wait: boolean;
  json?: boolean;
}

/** `ingest`, and `documents …`: what is in a collection as texts, pages and files. */
export function documentCommands(program: Command, context: Context): void {
  program
    .command('ingest')
    .description('put a file or a page into a collection, cut into chunks and embedded, and follow that')
    .argument('<source>', 'a file, a URL, or `-` for stdin: text, Markdown, HTML, PDF or JSON')
    .requiredOption('--collection <name>', 'the collection that it goes into')
    .option('--title <text>', 'its title; that of the content where it is not given')
    .option('--content-type <type>', 'what it is, such as text/markdown, where its name does not say')
    .option('--metadata <json>', `what a filter may ask of its chunks: ${OBJECT}`)
    .option('--chunk-tokens <count>', 'how many tokens a chunk has at most', readNumber)
    .option(
      '--overlap-tokens <count>',
      'how many of them are said again in the next, half of a chunk at most',
      readNumber,
    )
    .option('--no-wait', 'print the id of the task and do not wait for it')
    .option('--json', 'print the task as one JSON value')
    .addHelpText(
      'after',
      '\nThe id of the document goes to stdout. The same file, URL or title again takes the place of the old one.\n\nExamples:\n  sutazai ingest README.md --collection manuals\n  sutazai ingest https://example.com/ --collection web\n  cat notes.txt | sutazai ingest - --collection notes --title Notes',
    )
    .action(act(context, (source: string, options: IngestOptions) => ingest(context, source, options)));

  const documents = program.command('documents').description('what was put into a collection by `sutazai ingest`');

  documents
    .command('list')
    .description('the documents of a collection, newest first')
    .argument('<collection>', COLLECTION)
    .option('--json', JSON_LINES)
    .addHelpText('after', '\nExample:\n  sutazai documents list manuals')
    .action(
      act(context, async (collection: string, { json }) => {
        const rows: string[][] = [];
        for await (const one of context.client().documents.list(collection)) {
          if (json) sayJson(one);
          rows.push(rowOf(one));
        }
        if (!json) say(table(HEAD, rows).join('\n'));
      }),
    );

  documents
    .command('show')
    .description('a document, how far it is, and what went wrong')
    .argument('<collection>', COLLECTION)
    .argument('<id>', 'the id of a document')
    .option('--json', 'one JSON value')
    .addHelpText('after', '\nExample:\n  sutazai documents show manuals 0199f3a2-7c1e-7000-8000-000000000000')
    .action(
      act(context, async (collection: string, id: string, { json }) => {
        const one = await context.client().documents.get(collection, id);
        if (json) return sayJson(one);
        say(table(HEAD, [rowOf(one)]).join('\n'));
        if (one.error) note(`${one.error.code}: ${harmless(one.error.message)}`);
      }),
    );

  documents
    .command('delete')
    .description('delete documents with all their chunks')
    .argument('<collection>', COLLECTION)
    .argument('<id...>', 'ids of documents')
    .addHelpText('after', '\nExample:\n  sutazai documents delete manuals 0199f3a2-7c1e-7000-8000-000000000000')
    .action(
      act(context, async (collection: string, ids: string[]) => {
        const client = context.client();
        return forEach(context, ids, async (id) => {
          await client.documents.delete(collection, id);
          say(`${harmless(id)} is deleted`);
        });
      }),
    );
}

async function ingest(context: Context, source: string, options: IngestOptions): Promise<number> {
  const { collection, title, contentType, metadata, chunkTokens, overlapTokens, wait, json } = options;
  const task = await send(context.client(), collection, {
    ...(await contentOf(source)),
    ...{ title, content_type: contentType, chunk_tokens: chunkTokens, overlap_tokens: overlapTokens },
    ...(metadata === undefined ? {} : { metadata: await readObject(metadata, '--metadata') }),
  });
  if (!wait) {
    if (json) sayJson(task);
    else say(task.id);
    return 0;
  }
  const { task: ended, code } = await follow(context.client({ patient: true }), task, { text: false });
  if (json) sayJson(ended);
  else if (ended.status !== 'completed') note(endOf(ended));
  else {
    const { document_id, chunks, outcome } = ended.output as NonNullable<typeof task.output>;
    say(document_id);
    note(`It is ${ENDS[outcome]}: ${chunks} ${chunks === 1 ? 'chunk' : 'chunks'} in ${collection}.`);
  }
  return code;
}

const ENDS = {
  stored: 'stored',
  replaced: 'stored in the place of the old one',
  unchanged: 'unchanged',
  outdone: 'not found, because a newer content of the same name came meanwhile',
};

/** What is at a URL is got by the server; everything else is read here. */
async function contentOf(source: string): Promise<Pick<NewDocument, 'url' | 'file' | 'filename'>> {
  if (/^https?:\/\//i.test(source)) return { url: source };
  if (source === '-') return { file: (await blob(process.stdin)) as Blob };
  try {
    const stats = statSync(source);
    if (stats.isDirectory()) throw new UsageError(`${source} is a directory; give one file at a time.`);
    // A pipe, such as that of <(…), is read to its end first.
    const file = stats.isFile() ? await openAsBlob(source) : ((await blob(createReadStream(source))) as Blob);
    return { file, ...(stats.isFile() ? { filename: basename(source) } : {}) };
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new UsageError(`${source} cannot be read (${code ?? message}). Give a file, a URL with https://, or \`-\`.`, {
      cause: error,
    });
  }
}

async function send(client: Sutazai, collection: string, document: NewDocument) {
  const bar = createBar();
  try {
    bar.show({ status: 'sending', message: document.file && `${document.file.size.toLocaleString('en-US')} bytes` });
    return await client.documents.create(collection, document);
  } catch (error) {
    if (error instanceof SutazaiError && error.code === 'not_found' && (await hasCollections(client)))
      throw new UsageError(
        `You have no collection ${collection}. \`sutazai collections create ${collection}\` makes it.`,
        { cause: error },
      );
    throw error;
  } finally {
    bar.close();
  }
}

/** Whether the server has collections at all: where vectors are switched off, that is what there is to say. */
function hasCollections(client: Sutazai): Promise<boolean> {
  return client.collections
    .list({ limit: 1 })
    .page()
    .then(
      () => true,
      () => false,
    );
}
