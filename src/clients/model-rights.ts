import { canonicalName } from './model-names.ts';

/** Which models the users of a role may use. */
export interface ModelRights {
  /** `undefined` for a role that may use all. */
  of(role: string): ((model: string) => boolean) | undefined;
  /** Whether all roles may use all models. */
  isOpen: boolean;
  /** Says why users of a role may not use a model; `undefined` for a role that may use all. */
  refusals(role: string): ((model: string) => string | undefined) | undefined;
}

/** @param byRole names of models by role, `*` for all of them; a role that is not there may use all */
export function createModelRights(byRole: Readonly<Record<string, readonly string[]>>): ModelRights {
  const limited = Object.entries(byRole).filter(([, models]) => !models.includes('*'));
  const names = new Map(limited.map(([role, models]) => [role, new Set(models.map(canonicalName))]));
  return {
    isOpen: names.size === 0,
    of(role) {
      const allowed = names.get(role);
      return allowed && ((model) => allowed.has(canonicalName(model)));
    },
    refusals(role) {
      const allowed = names.get(role);
      const text = `is not open to the role ${role}: MODELS_BY_ROLE gives it ${[...(allowed ?? [])].join(', ') || 'none'}`;
      return allowed && ((model) => (allowed.has(canonicalName(model)) ? undefined : text));
    },
  };
}
