/**
 * A Lua script, called by its hash. A server that does not know it (new, failed over, SCRIPT FLUSH)
 * says so before anything has run, and gets the text.
 */
import { createHash } from 'node:crypto';
import type { Outcome } from './execute.js';
import type { RedisLink } from './redis-link.js';

export class Script {
  readonly #sha1: string;

  constructor(readonly text: string) {
    this.#sha1 = createHash('sha1').update(text).digest('hex');
  }

  /** @param read makes of a reply what the caller wants to know */
  run<Reply, Result>(
    link: Pick<RedisLink, 'execute'>,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
    replyAs: 'text' | 'bytes',
    read: (reply: Reply) => Result,
  ): Promise<Outcome<Result>> {
    const called = (script: string) => [script, keys.length, ...keys, ...args];
    const done = (outcome: Outcome<Reply>): Outcome<Result> =>
      outcome.type === 'done' ? { type: 'done', reply: read(outcome.reply) } : outcome;
    return link.execute<Reply>('evalsha', called(this.#sha1), replyAs).then((outcome) => {
      const isUnknown = outcome.type === 'rejected' && outcome.reason.startsWith('NOSCRIPT');
      if (!isUnknown) return done(outcome);
      return link.execute<Reply>('eval', called(this.text), replyAs).then(done);
    });
  }
}
