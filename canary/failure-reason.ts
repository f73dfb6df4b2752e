/**
 * Returns the message of an error. Errors of `fetch` say nothing themselves, so theirs is that of
 * the cause.
 */
export function failureReason(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error && cause.message !== '' ? cause.message : message;
}
