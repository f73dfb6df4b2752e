/** The message of an error; of `fetch`, whose own says nothing, that of its cause. */
export function failureReason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}
