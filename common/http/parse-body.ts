/** Checks the body of a request against its schema. */
import type { z } from 'zod';
import { type Rejection, rejection } from '../process/errors.js';

/** Maximum number of problems that an error names. A body may have very many. */
const PROBLEMS_MAX = 5;
const PROBLEM_LENGTH_MAX = 200;

export function parseBody<Body extends z.ZodType>(
  schema: Body,
  body: unknown,
): { readonly parsed: z.infer<Body> } | Rejection {
  const result = schema.safeParse(body);
  if (result.success) return { parsed: result.data };
  const problems = result.error.issues
    .slice(0, PROBLEMS_MAX)
    .map(({ path, message }) =>
      [...(path.length > 0 ? [path.join('.')] : []), message]
        .join(': ')
        .slice(0, PROBLEM_LENGTH_MAX),
    );
  return rejection('REQUEST_MALFORMED', problems.join('; '));
}
