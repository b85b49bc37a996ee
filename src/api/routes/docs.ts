import { html } from 'hono/html';
import { PROBLEMS, type ProblemCode, ProblemError } from '../../errors.ts';
import { answersText } from '../answer.ts';
import { defineRoute, type Route } from '../route.ts';

/** The pages that the `type` of a problem opens. */
export function docsRoutes(): Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/docs/problems/:code',
      summary: 'What a problem means and what to do about it',
      answers: { 200: answersText('A page about the problem.', 'text/html', '<!doctype html><html>…</html>') },
      handle: async ({ params }) => {
        if (!Object.hasOwn(PROBLEMS, params.code ?? '')) {
          throw new ProblemError(
            'not_found',
            `There is no such problem; there are ${Object.keys(PROBLEMS).join(', ')}.`,
          );
        }
        const code = params.code as ProblemCode;
        const { status, title, help } = PROBLEMS[code];
        return { status: 200, text: String(await page(code, status, title, help)) };
      },
    }),
  ];
}

function page(code: string, status: number, title: string, help: string) {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <title>${title} · SutazAI</title>
        <style>
          body { font: 16px/1.6 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; color: #1c1e21; }
          code { background: #f0f1f4; padding: 0.1em 0.35em; border-radius: 4px; }
        </style>
      </head>
      <body>
        <h1>${title}</h1>
        <p>HTTP status <code>${status}</code>, code <code>${code}</code></p>
        <p>${help}</p>
      </body>
    </html>`;
}
