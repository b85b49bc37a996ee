export const DEFAULTS: { JWT_ALGORITHM: string; MAX_BODY_BYTES: string; MAX_FILE_BYTES: string };
export const FORM_OVERHEAD_BYTES: number;
export const OWN_SETTINGS: string[];
export function renderKong(template: string, env: Record<string, string | undefined>): string;
