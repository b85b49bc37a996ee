import * as v from 'valibot';
import { flag, integer, list, modelsByRole, ollamaHosts, optionalText, setting } from './setting.ts';

/** What there is to say of models and their hosts. */
export const MODEL_SETTINGS = {
  OLLAMA_HOST: setting(
    'Models',
    v.optional(ollamaHosts),
    'the Ollama to call, or several, separated by commas, on port 11434 where one is named without scheme and port; embedded when empty',
    { example: '127.0.0.1:11434' },
  ),
  OLLAMA_NUM_PARALLEL: setting(
    'Models',
    v.optional(integer(1, 1000), '1'),
    'calls of one model that a host works on at a time; what it is set to on the hosts, where 1 is the default too',
  ),
  OLLAMA_MAX_LOADED_MODELS: setting(
    'Models',
    v.optional(integer(1, 1000), '3'),
    'models that a host works with at a time; what it is set to on the hosts, 3 for one GPU or none by default',
  ),
  OLLAMA_DEFAULT_MODEL: setting(
    'Models',
    optionalText,
    'the model for tasks that name none; the first one that fits when empty',
    { example: 'tinyllama' },
  ),
  OLLAMA_EMBEDDING_MODEL: setting(
    'Models',
    optionalText,
    'the model for embeddings that name none; the first one that fits when empty',
    { example: 'all-minilm' },
  ),
  OLLAMA_FALLBACK_MODELS: setting(
    'Models',
    v.optional(list, ''),
    'tried in this order where a model that is wanted is not there, before the default; separated by commas',
    { example: 'llama3.2,tinyllama' },
  ),
  OLLAMA_MODELS: setting(
    'Models',
    v.optional(list, ''),
    'only these models may be used, separated by commas; all when empty',
    { example: 'tinyllama,all-minilm' },
  ),
  MODELS_BY_ROLE: setting(
    'Models',
    v.optional(modelsByRole, ''),
    'the models that users of a role may use, * for all, as a role that is not named; roles are separated by semicolons',
    { example: 'user:tinyllama,all-minilm;operator:*' },
  ),
  MODEL_AFFINITY_SECONDS: setting(
    'Models',
    v.optional(integer(0, 3_600), '30'),
    'how long a task may be passed over by others whose model is in memory while its own is not; 0 is never',
  ),
  EMBEDDING_CACHE_MB: setting(
    'Models',
    v.optional(integer(0, 65_536), '64'),
    'memory of a process for embeddings of texts that come again; 0 remembers none, in Postgres neither',
  ),
  OLLAMA_AUTO_PULL: setting('Models', v.optional(flag, 'false'), 'pull a model that a task names and no host has'),
} as const;
