import type { ModelCall, ModelClient } from '../../clients/model-client.ts';
import { canonicalName } from '../../clients/models.ts';
import { loadTokenCounter } from '../../documents/tokens.ts';
import type { Tools } from '../../tasks/tools.ts';

/** What Ollama gives a model that was trained for more, unless a request or its operator says otherwise. */
const USUAL_CONTEXT = 4_096;

/** How much text a model takes that such a call would get, from whoever may not use every model. */
export function contextTool(
  client: Pick<ModelClient, 'models'>,
  mayUse: () => Promise<ModelCall['mayUse']>,
): Tools['models']['context'] {
  return async ({ model, fallback, options }) => {
    const { models } = client;
    const how = { mayUse: await mayUse(), fallback, pull: false };
    const [all, count] = await Promise.all([models.list(), loadTokenCounter()]);
    // One that is still to be pulled is not known yet, and what is not there or not allowed the call itself will say.
    const name = await models.select(model, 'completion', how).then(
      (chosen) => chosen.model,
      () => '',
    );
    const trained = all.find((one) => canonicalName(one.name) === canonicalName(name))?.context_length;
    const asked = options?.num_ctx;
    const tokens = typeof asked === 'number' ? asked : Math.min(trained ?? USUAL_CONTEXT, USUAL_CONTEXT);
    return { tokens, count };
  };
}
