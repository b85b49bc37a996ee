export const ALONE: string[];
export const LONG: string[];
