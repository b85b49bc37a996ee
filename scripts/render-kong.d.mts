export const DEFAULTS: { JWT_ISSUER: string; JWT_ALGORITHM: string; MAX_BODY_BYTES: string };
export function renderKong(template: string, env: Record<string, string | undefined>): string;
