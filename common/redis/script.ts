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

  run<Reply>(
    link: Pick<RedisLink, 'execute'>,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
    replyAs: 'text' | 'bytes' = 'text',
  ): Promise<Outcome<Reply>> {
    const called = (script: string) => [script, keys.length, ...keys, ...args];
    return link.execute<Reply>('evalsha', called(this.#sha1), replyAs).then((outcome) => {
      const isUnknown = outcome.type === 'refused' && outcome.reason.startsWith('NOSCRIPT');
      return isUnknown ? link.execute<Reply>('eval', called(this.text), replyAs) : outcome;
    });
  }
}
