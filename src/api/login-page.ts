import { html } from 'hono/html';

/** The login page of the queue dashboard. It holds no script, so nothing on it can be talked into anything. */
export function loginPage(action: string, error?: string) {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <link rel="icon" href="data:," />
        <title>SutazAI · Log in</title>
        <style>
          body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: grid; place-items: center; min-height: 100vh; background: #f4f5f7; color: #1c1e21; }
          form { background: #fff; padding: 2rem; border-radius: 12px; box-shadow: 0 2px 12px #0002; width: min(20rem, 80vw); display: grid; gap: 0.75rem; }
          h1 { font-size: 1.25rem; margin: 0; }
          label { display: grid; gap: 0.25rem; font-size: 0.9rem; }
          input { font: inherit; padding: 0.5rem 0.6rem; border: 1px solid #b6bcc6; border-radius: 6px; }
          button { font: inherit; padding: 0.6rem; border: 0; border-radius: 6px; background: #1f5eff; color: #fff; cursor: pointer; }
          .error { margin: 0; color: #a40000; }
        </style>
      </head>
      <body>
        <form method="post" action="${action}">
          <h1>SutazAI queues</h1>
          ${error ? html`<p class="error" role="alert">${error}</p>` : ''}
          <label>User name or e-mail <input name="login" autocomplete="username" required autofocus /></label>
          <label>Password <input name="password" type="password" autocomplete="current-password" required /></label>
          <button type="submit">Log in</button>
        </form>
      </body>
    </html>`;
}
