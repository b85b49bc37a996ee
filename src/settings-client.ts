import * as v from 'valibot';
import { baseUrl, optionalText, setting } from './setting.ts';

const GROUP = 'Command line';

/** The environment variables of the commands that talk to a server; a part of the table in `settings.ts`. */
export const CLIENT_SETTINGS = {
  SUTAZAI_URL: setting(
    GROUP,
    v.optional(baseUrl('https://tasks.example.com')),
    'the server that commands such as `sutazai run` talk to, before that of `sutazai login`',
    { example: 'https://tasks.example.com' },
  ),
  SUTAZAI_API_KEY: setting(GROUP, optionalText, 'an API key for them, before the login', { secret: true }),
  SUTAZAI_TOKEN: setting(GROUP, optionalText, 'an access token for them, before the login', { secret: true }),
  XDG_CONFIG_HOME: setting(
    GROUP,
    optionalText,
    'where they keep the login, in sutazai/credentials.json; ~/.config when empty',
    {
      example: '/home/ada/.config',
    },
  ),
} as const;
