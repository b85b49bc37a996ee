/** Why an expression cannot be read, or gave no value. */
export class ExpressionError extends Error {
  override name = 'ExpressionError';
  /** Where in the text, in characters from 0, as far as that is known. */
  readonly at: number | undefined;

  constructor(message: string, at?: number) {
    super(message);
    this.at = at;
  }
}
