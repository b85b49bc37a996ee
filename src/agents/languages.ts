import { createLanguage } from '../expressions/index.ts';

/** Of a request to an agent. Which secrets it holds stands in its text, so that no input can choose one. */
export const REQUEST = createLanguage({ variables: ['input', 'secrets', 'callback_url'], named: ['secrets'] });

/** Of headers that go with every call, whatever is asked. */
export const HEADERS = createLanguage({ variables: ['secrets'], named: ['secrets'] });

/** Of what an agent answers. */
export const ANSWER = createLanguage({ variables: ['status', 'headers', 'body'] });

/** Of what an agent calls back with. */
export const CALLBACK = createLanguage({ variables: ['body'] });
