/** How much longer than said is waited before it counts as never: a busy machine is no error, and what comes never does not come later. */
const PATIENCE = 5;

/**
 * Asks again and again until the answer is good, and gives up loudly.
 * @param what names what is waited for, in the error
 * @param probe answers something truthy when it is there
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  { withinMs = 10_000, everyMs = 20 } = {},
): Promise<T> {
  const patienceMs = withinMs * PATIENCE;
  const deadline = Date.now() + patienceMs;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${patienceMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
