/**
 * Events that a webhook has not accepted in time: `ll:{watch}:<group>:dead`, a stream of `e` the
 * event as JSON and `r` the reason. Bound: the newest `LETTERS_MAX` of a webhook, for seven days
 * after the newest.
 */
import type { Outcome } from '../../../common/redis/execute.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { Script, type ScriptLink } from '../../../common/redis/script.js';

export const LETTERS_MAX = 10_000;
const KEEP_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * Input:  KEYS stream; ARGV reason, events
 * Output: 1
 */
const ADD = new Script(`
for i = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', ${LETTERS_MAX}, '*', 'e', ARGV[i], 'r', ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ${KEEP_MS})
return 1`);

export interface DeadLetter {
  readonly atMs: number;
  /** The event as JSON. */
  readonly event: string;
  readonly reason: string;
}

type Link = ScriptLink & Pick<RedisLink, 'names'>;

export function addDeadLetters(
  link: Link,
  group: string,
  reason: string,
  events: readonly string[],
): Promise<Outcome<number>> {
  return ADD.run(link, [keyOf(link, group)], [reason, ...events], 'text', Number);
}

/** Reads the newest dead letters, the newest first. */
export async function readDeadLetters(
  link: Link,
  group: string,
  countMax: number,
): Promise<Outcome<DeadLetter[]>> {
  const args = [keyOf(link, group), '+', '-', 'COUNT', countMax];
  const outcome = await link.execute<[string, string[]][]>('xrevrange', args);
  if (outcome.type !== 'done') return outcome;
  const reply = outcome.reply.map(([id, [, event = '', , reason = '']]) => ({
    atMs: Number(id.split('-', 1)[0]),
    event,
    reason,
  }));
  return { type: 'done', reply };
}

function keyOf({ names }: Link, group: string): string {
  return `${names.eventGroup(group)}:dead`;
}
