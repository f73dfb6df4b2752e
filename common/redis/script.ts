/**
 * A Lua script, called by its hash (EVALSHA). A server without the script (new, failed over, SCRIPT
 * FLUSH) replies NOSCRIPT before anything runs, and then receives the text (EVAL).
 */
import { createHash } from 'node:crypto';
import type { Outcome } from './execute.js';
import type { RedisLink } from './redis-link.js';

export class Script {
  readonly #sha1: string;

  constructor(readonly text: string) {
    this.#sha1 = createHash('sha1').update(text).digest('hex');
  }

  /** @param parse converts a reply to the result */
  run<Reply, Result>(
    link: Pick<RedisLink, 'execute'>,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
    replyAs: 'text' | 'bytes',
    parse: (reply: Reply) => Result,
  ): Promise<Outcome<Result>> {
    const argsOf = (script: string) => [script, keys.length, ...keys, ...args];
    const parsed = (outcome: Outcome<Reply>): Outcome<Result> =>
      outcome.type === 'done' ? { type: 'done', reply: parse(outcome.reply) } : outcome;
    return link.execute<Reply>('evalsha', argsOf(this.#sha1), replyAs).then((outcome) => {
      const isMissing = outcome.type === 'rejected' && outcome.reason.startsWith('NOSCRIPT');
      if (!isMissing) return parsed(outcome);
      return link.execute<Reply>('eval', argsOf(this.text), replyAs).then(parsed);
    });
  }
}
