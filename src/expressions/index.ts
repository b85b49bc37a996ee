export { ExpressionError } from './error.ts';
export { createLanguage, type Expression, type Language, type Reference } from './language.ts';
export { type FilledText, parseTemplate, replaceExpressions, type Template, TemplateError } from './template.ts';
export { takeFrom } from './values.ts';
